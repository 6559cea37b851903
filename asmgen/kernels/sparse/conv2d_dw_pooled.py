"""Weight gradient of a convolution behind a max pool, for few input channels; dz is made in registers.

Lanes are output channels. At every pooled pixel the argmax codes tell the window's positions apart: dy counts at one of
them in each lane. Elements of x around the window are broadcast once and meet all (position, tap) pairs that read them,
so that dz, which would be as large as the convolution's output, is never stored.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.common.loops import Share, in_steps
from asmgen.kernels.sparse import conv2d_dw_tap_lanes
from asmgen.kernels.sparse.conv2d_dw_pooled_frame import PooledGradient
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.plan.specs.base import require
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.sparse.conv2d_dw_pooled import Tile, choose_tile, chunks, elements
from asmgen.tile.sparse.conv2d_dw_tap_lanes import TapTile

_NOTES = (
    "every element of dw is one chain over n, h, w and the window's positions in a fixed order; between bands it rests"
    " in dw",
)
_PREFETCH_PIXELS = 64  # how far ahead of its use dy is fetched


def emit(spec: Conv2dBackwardWeightsPooled, isa: Isa, tile: Tile | TapTile | None = None) -> Listing:
    """The kernel of one shape: rdi x or pixels, rsi dy, rdx codes, rcx dw (overwritten), slice of blocks of V output
    channels. Raises ValueError where x is not planar.
    """
    require(spec.conv.x.block == 1, spec, "x must be planar")
    tile = tile or choose_tile(spec.of_part(), isa)
    if isinstance(tile, TapTile):
        return conv2d_dw_tap_lanes.emit(spec, isa, tile)
    return _Kernel(spec, isa, tile).emit()


class _Kernel(PooledGradient):
    def __init__(self, whole: Conv2dBackwardWeightsPooled, isa: Isa, tile: Tile) -> None:
        super().__init__(whole, isa, tile, "asmgen/kernels/sparse/conv2d_dw_pooled.py", _NOTES)
        self.tile = tile

    def _sum_block(self, rows: Share, n_cols: int) -> None:
        """V output channels over one band: loops over the tiles of their taps, then the bias."""
        asm, weights, tile, x = self.asm, self.weights, self.tile, self.x
        self.x_tap, self.dw = asm.gp.alloc("x of this tile's first tap"), asm.gp.alloc("dw")
        self.x_at, self.dy_at, self.codes_at = asm.gp.alloc("x"), asm.gp.alloc("dy"), asm.gp.alloc("codes")
        x86.MOV(self.x_tap, self.strips.slice.x)
        x86.MOV(self.dw, self.strips.block.dw)

        def channels(n_channels: int) -> None:
            in_steps(asm, "i", weights.kh, tile.kernel_rows, lambda n_rows: kernel_rows(n_channels, n_rows))
            asm.move(
                self.x_tap,
                n_channels * x.plane_bytes - weights.kh * x.row_bytes,
                f"x: {advance(n_channels, 'channel')}, tap row 0",
            )
            asm.move(self.dw, (n_channels - 1) * weights.channel_bytes, "dw: taps of the next channels")

        def kernel_rows(n_channels: int, n_rows: int) -> None:
            in_steps(asm, "j", weights.kw, tile.kernel_cols, lambda n_taps: kernel_cols(n_channels, n_rows, n_taps))
            asm.move(
                self.x_tap,
                n_rows * x.row_bytes - weights.kw * x.pixel_bytes,
                f"x: {advance(n_rows, 'tap row')}, column 0",
            )
            asm.move(self.dw, (n_rows - 1) * weights.row_bytes, f"dw: {advance(n_rows, 'tap row')}")

        def kernel_cols(n_channels: int, n_rows: int, n_taps: int) -> None:
            self._sum_tile(rows, n_cols, (n_channels, n_rows, n_taps))
            asm.move(self.x_tap, n_taps * x.pixel_bytes, f"x: {advance(n_taps, 'tap')}")
            asm.move(self.dw, n_taps * weights.tap_bytes, f"dw: {advance(n_taps, 'tap')}")

        in_steps(asm, "c", weights.c, tile.channels, channels)
        asm.gp.free(self.x_tap, self.dw, self.x_at, self.dy_at, self.codes_at)
        if self.conv.bias:
            self._sum_bias(rows, n_cols)

    def _sum_tile(self, rows: Share, n_cols: int, extents: tuple[int, int, int]) -> None:
        """Load the accumulators, add the band's products, store them."""
        asm, weights, dy = self.asm, self.weights, self.dy
        n_channels, n_rows, n_taps = extents
        acc = {
            (c, i, j): asm.vec.alloc(f"acc[c {c}][tap {i},{j}]")
            for c in range(n_channels)
            for i in range(n_rows)
            for j in range(n_taps)
        }
        asm.comment(f"{counted(n_channels, 'channel')} x {n_rows}x{n_taps} taps: the sums so far")
        for place, register in acc.items():
            asm.v.load(register, [self.dw + weights.offset_bytes(0, *place)])
        window = _Window(asm, self.tile.positions)
        x86.MOV(self.x_at, self.x_tap)
        x86.MOV(self.dy_at, self.strips.block.dy)
        x86.MOV(self.codes_at, self.strips.block.codes)
        x_row, x_column = self._window_steps()
        with rows.loop("row", on_stack=True):
            with asm.loop("column", n_cols):
                x86.PREFETCHT0([self.dy_at + _PREFETCH_PIXELS * dy.pixel_bytes])
                x86.PREFETCHT0([self.codes_at + _PREFETCH_PIXELS * dy.code_pixel_bytes])
                for number, chunk in enumerate(chunks(self.spec, self.tile)):
                    self._multiply(acc, window, number * self.tile.positions, chunk, extents)
                asm.move(self.x_at, x_column, "x: next window")
                asm.move(self.dy_at, dy.pixel_bytes, "dy: next pixel")
                asm.move(self.codes_at, dy.code_pixel_bytes, "codes: next pixel")
            asm.move(self.x_at, x_row - n_cols * x_column, "x: next row of windows, first column")
            asm.move(self.dy_at, dy.row_bytes - n_cols * dy.pixel_bytes, "dy: next row + halo, first column")
        asm.comment("the sums rest until the next band")
        for place, register in acc.items():
            asm.v.store([self.dw + weights.offset_bytes(0, *place)], register)
        window.release()
        asm.vec.free(*acc.values())

    def _multiply(
        self,
        acc: dict[tuple[int, int, int], Any],
        window: _Window,
        first: int,
        chunk: list[tuple[int, int]],
        extents: tuple[int, int, int],
    ) -> None:
        """acc += (dy where the code names the position) * x, for the positions of one chunk."""
        asm, x = self.asm, self.x
        n_channels, n_rows, n_taps = extents
        window.open(self.dy_at, self.codes_at, range(first, first + len(chunk)))
        for (row, column), meeting in elements(self.spec, chunk, (n_rows, n_taps)).items():
            for c in range(n_channels):
                asm.v.broadcast(
                    window.element, [self.x_at + c * x.plane_bytes + row * x.row_bytes + column * x.pixel_bytes]
                )
                asm.note(f"x[channel {c}, row {row}, column {column}]")
                for position, (i, j) in meeting:
                    window.fma(acc[c, i, j], position)


class _Window:
    """dy of a pooled pixel at each of some positions: masks on dy, or masked copies of dy where there are no masks.

    `element` is the vector to broadcast x into; until the positions are known it holds the codes.
    """

    def __init__(self, asm: Assembler, n_positions: int) -> None:
        self._asm = asm
        self._has_masks = asm.v.has_fma_where()
        self.element = asm.vec.alloc("codes / x broadcast")
        self._dy = asm.vec.alloc("dy")
        take = asm.v.mask_alloc if self._has_masks else asm.vec.alloc
        kind = "is it" if self._has_masks else "dy at"
        self._at = [take(f"{kind} position[{k}]") for k in range(n_positions)]

    def open(self, dy: Any, codes: Any, positions: range) -> None:
        """Load dy and codes (addresses) and tell these positions of the window apart."""
        asm, v = self._asm, self._asm.v
        v.load_bytes(self.element, codes)
        asm.note("codes: V bytes to integer lanes")
        v.load(self._dy, [dy])
        asm.note("dy: V channels of a pixel")
        for at, position in zip(self._at, positions, strict=False):
            v.integer_equal(at, self.element, asm.integer_constant(f"position_{position}", position))
            if not self._has_masks:
                v.keep(at, at, self._dy)

    def fma(self, acc: Any, position: int) -> None:
        """acc += dy at the position * element."""
        if self._has_masks:
            self._asm.v.fma_where(acc, self._at[position], self._dy, self.element)
        else:
            self._asm.v.fma(acc, self._at[position], self.element)

    def release(self) -> None:
        """Give all registers back."""
        self._asm.vec.free(self.element, self._dy)
        (self._asm.v.mask_free if self._has_masks else self._asm.vec.free)(*self._at)
