"""Weight gradient of a first layer behind a max pool with few output channels; lanes are the taps of a kernel's row.

    dw[oc][c][i][0 .. kw-1] += dy[n,oc,h,w] * x[n,c, row + i, column .. column + kw-1]

row, column: where the window's position that code[n,oc,h,w] names has its first tap. Channel after channel of a pooled
pixel, the code is looked up in a table of offsets, and every row of taps is one unaligned vector of the strip; lanes
behind a row's last tap are summed and dropped. The sums rest on the frame between bands and go to dw at the end.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.common.loops import Share, in_steps
from asmgen.kernels.sparse.conv2d_dw_pooled_frame import PooledGradient
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.common.count_text import advance
from asmgen.tile.sparse.conv2d_dw_tap_lanes import (
    TapTile,
    block_channels,
    block_sums_bytes,
    has_pad_lanes,
    strip_cols,
    sums_bytes,
)

_NOTES = (
    "every element of dw is one chain over n, h, w, from slice to slice the same; between bands it rests on the frame",
    "acc[k][c][i][v]: taps of kernel row i of channel c, vector v, for output channel k of the tile",
)
_VIEWS = {16: "as_xmm", 32: "as_ymm", 64: "as_zmm"}
_PREFETCH_PIXELS = 64  # how far ahead of its use dy is fetched


def emit(spec: Conv2dBackwardWeightsPooled, isa: Isa, tile: TapTile) -> Listing:
    """As asmgen/kernels/sparse/conv2d_dw_pooled.py says."""
    return _Kernel(spec, isa, tile).emit()


class _Kernel(PooledGradient):
    def __init__(self, whole: Conv2dBackwardWeightsPooled, isa: Isa, tile: TapTile) -> None:
        spec = whole.of_part()
        source, frame_bytes = "asmgen/kernels/sparse/conv2d_dw_tap_lanes.py", sums_bytes(spec, tile)
        super().__init__(whole, isa, tile, source, _NOTES, frame_bytes, strip_cols(spec, tile))
        self.tile, self.frame_bytes = tile, frame_bytes
        self.n_channels = block_channels(spec)
        self.row_bytes = tile.row_bytes
        self.plane_bytes = self.weights.kh * tile.row_bytes
        self.channel_bytes = self.weights.c * self.plane_bytes

    def _begin(self) -> None:
        """The sums on the frame are zero, and take the place of dw in the walk over strips."""
        asm = self.asm
        asm.comment("the sums = 0")
        at, zero = asm.gp.alloc("sums"), asm.vec.alloc("zero")
        self.dw = self.strips.rest_in(self.sums_at, block_sums_bytes(self.spec, self.tile), at)
        asm.v.zero(zero)
        with asm.loop("clear_sums", -(-self.frame_bytes // asm.isa.vector_bytes)):
            asm.v.store([at], zero)
            asm.move(at, asm.isa.vector_bytes, "sums: next vector")
        asm.gp.free(at)
        asm.vec.free(zero)

    def _sum_block(self, rows: Share, n_cols: int) -> None:
        """V output channels over one band: loops over the tiles of their sums, then the bias."""
        asm, weights, tile, x = self.asm, self.weights, self.tile, self.x
        names = ("x under the tile's first tap", "sums", "dy of the tile", "codes of the tile", "offsets of positions")
        self.x_tap, self.sums, self.dy_first, self.codes_first, self.offsets = (asm.gp.alloc(name) for name in names)
        self.x_at, self.dy_at, self.codes_at = asm.gp.alloc("x"), asm.gp.alloc("dy"), asm.gp.alloc("codes")
        x86.MOV(self.x_tap, self.strips.slice.x)
        x86.MOV(self.sums, self.strips.block.dw)
        x86.MOV(self.dy_first, self.strips.block.dy)
        x86.MOV(self.codes_first, self.strips.block.codes)
        x86.LEA(self.offsets, self._table())

        def out_channels(n_out: int) -> None:
            in_steps(asm, "c", weights.c, tile.channels, lambda n_channels: channels(n_out, n_channels))
            asm.move(self.x_tap, -weights.c * x.plane_bytes, "x: back to channel 0")
            asm.move(self.sums, (n_out - 1) * self.channel_bytes, f"sums: {advance(n_out, 'output channel')}")
            asm.move(self.dy_first, n_out * weights.element_bytes, f"dy: {advance(n_out, 'output channel')}")
            asm.move(self.codes_first, n_out, f"codes: {advance(n_out, 'output channel')}")

        def channels(n_out: int, n_channels: int) -> None:
            in_steps(asm, "i", weights.kh, tile.kernel_rows, lambda n_rows: kernel_rows(n_out, n_channels, n_rows))
            asm.move(
                self.x_tap,
                n_channels * x.plane_bytes - weights.kh * x.row_bytes,
                f"x: {advance(n_channels, 'channel')}, tap row 0",
            )
            asm.move(
                self.sums,
                n_channels * self.plane_bytes - weights.kh * self.row_bytes,
                f"sums: {advance(n_channels, 'channel')}, tap row 0",
            )

        def kernel_rows(n_out: int, n_channels: int, n_rows: int) -> None:
            self._sum_tile(rows, n_cols, (n_out, n_channels, n_rows))
            self.asm.move(self.x_tap, n_rows * x.row_bytes, f"x: {advance(n_rows, 'tap row')}")
            self.asm.move(self.sums, n_rows * self.row_bytes, f"sums: {advance(n_rows, 'tap row')}")

        in_steps(asm, "k", self.n_channels, tile.out_channels, out_channels)
        asm.gp.free(self.x_tap, self.sums, self.dy_first, self.codes_first, self.offsets)
        asm.gp.free(self.x_at, self.dy_at, self.codes_at)
        if self.conv.bias:
            self._sum_bias(rows, n_cols)

    def _table(self) -> Any:
        """Bytes from the window's first position to each, for taps at the same place."""
        pool, conv, x = self.spec.pool, self.conv, self.x
        offsets = [
            r * conv.sh * x.row_bytes + s * conv.sw * x.pixel_bytes for r in range(pool.ph) for s in range(pool.pw)
        ]
        padding = [0] * (-len(offsets) % max(self.asm.lanes, self._n_codes()))
        return self.asm.integer_constant("offsets", offsets + padding, "bytes of x to the positions of a window")

    def _n_codes(self) -> int:
        """The positions of a window, rounded up to a power of two."""
        return 1 << (self.spec.pool.ph * self.spec.pool.pw - 1).bit_length()

    def _sum_tile(self, rows: Share, n_cols: int, extents: tuple[int, int, int]) -> None:
        """Load the sums, add the band's products, store them."""
        asm, dy, x, tile = self.asm, self.dy, self.x, self.tile
        n_out, n_channels, n_rows = extents
        acc = {
            (k, c, i, v): self._view(asm.vec.alloc(f"acc[{k}][{c}][{i}][{v}]"))
            for k in range(n_out)
            for c in range(n_channels)
            for i in range(n_rows)
            for v in range(tile.vectors)
        }
        asm.comment(f"{n_out} output channels x {n_channels} channels x {n_rows} kernel rows: the sums so far")
        for place, register in acc.items():
            asm.v.load(register, [self.sums + self._sum_bytes(place)])
        gradient = asm.vec.alloc("dy")
        patch = asm.gp.alloc("x of the patch")
        product = None if asm.isa.has_fma else self._view(asm.vec.alloc("product"))
        x86.MOV(self.x_at, self.x_tap)
        x86.MOV(self.dy_at, self.dy_first)
        x86.MOV(self.codes_at, self.codes_first)
        x_row, x_column = self._window_steps()
        with rows.loop("row", on_stack=True):
            with asm.loop("column", n_cols):
                x86.PREFETCHT0([self.dy_at + _PREFETCH_PIXELS * dy.pixel_bytes])
                x86.PREFETCHT0([self.codes_at + _PREFETCH_PIXELS * dy.code_pixel_bytes])
                for k in range(n_out):
                    self._find(patch, k)
                    asm.v.broadcast(gradient, [self.dy_at + k * dy.element_bytes])
                    asm.note(f"dy[{k}]")
                    for (of, c, i, v), register in acc.items():
                        if of == k:
                            at = c * x.plane_bytes + i * x.row_bytes + v * tile.view_bytes
                            self._multiply_add(register, self._view(gradient), [patch + at], product)
                asm.move(self.x_at, x_column, "x: next window")
                asm.move(self.dy_at, dy.pixel_bytes, "dy: next pixel")
                asm.move(self.codes_at, dy.code_pixel_bytes, "codes: next pixel")
            asm.move(self.x_at, x_row - n_cols * x_column, "x: next row of windows, first column")
            asm.move(self.dy_at, dy.row_bytes - n_cols * dy.pixel_bytes, "dy: next row + halo, first column")
        asm.comment("the sums rest until the next band")
        for place, register in acc.items():
            asm.v.store([self.sums + self._sum_bytes(place)], register)
        asm.gp.free(patch)
        held = [*acc.values(), gradient, *([product] if product is not None else [])]
        asm.vec.free(*(self._whole(register) for register in held))

    def _find(self, patch: Any, k: int) -> None:
        """patch = the address of x under the tile's first tap at the position that channel k's code names."""
        asm = self.asm
        x86.MOVZX(patch.as_dword, x86.byte[self.codes_at + k])
        asm.note(f"code[{k}]")
        if has_pad_lanes(self.spec):
            x86.AND(patch.as_dword, self._n_codes() - 1)
            asm.note("codes of pad lanes are anything")
        if asm.element_bytes == 4:
            x86.MOV(patch.as_dword, x86.dword[self.offsets + patch * 4])
        else:
            x86.MOV(patch, x86.qword[self.offsets + patch * 8])
        x86.ADD(patch, self.x_at)

    def _multiply_add(self, acc: Any, gradient: Any, taps: Any, product: Any) -> None:
        """acc += gradient * taps, which lie at any alignment."""
        v = self.asm.v
        if product is None:
            v.fma(acc, gradient, taps)
            return
        v.load(product, taps)
        v.mul(product, product, gradient)
        v.add(acc, acc, product)

    def _sum_bytes(self, place: tuple[int, int, int, int]) -> int:
        """Of a sum from the tile's first."""
        k, c, i, v = place
        return k * self.channel_bytes + c * self.plane_bytes + i * self.row_bytes + v * self.tile.view_bytes

    def _view(self, register: Any) -> Any:
        """As much of a register as a row of taps needs."""
        return attrgetter(_VIEWS[self.tile.view_bytes])(register)

    def _whole(self, register: Any) -> Any:
        """The register of a view."""
        return attrgetter(_VIEWS[self.asm.isa.vector_bytes])(register)

    def _end(self) -> None:
        """dw = the sums, tap by tap; its pad lanes are zero already."""
        asm, weights = self.asm, self.weights
        asm.comment("the sums go to dw")
        sums, dw, block, tap = (asm.gp.alloc(name) for name in ("sums", "dw of the channel", "dw of the block", "tap"))
        x86.MOV(sums, self.strips.slice.dw)
        x86.MOV(block, self.dw)
        value = tap.as_dword if asm.element_bytes == 4 else tap
        sized = x86.dword if asm.element_bytes == 4 else x86.qword
        left = asm.gp.alloc("blocks left")
        x86.MOV(left, self.strips.n_blocks)
        with asm.loop("block", "blocks of the slice", left):
            with asm.loop("k", self.n_channels):
                x86.MOV(dw, block)
                with asm.loop("c_i", weights.c * weights.kh):
                    for j in range(weights.kw):
                        x86.MOV(value, sized[sums + j * asm.element_bytes])
                        x86.MOV(sized[dw + j * weights.tap_bytes], value)
                    asm.move(sums, self.row_bytes, "sums: next tap row")
                    asm.move(dw, weights.row_bytes, "dw: next tap row")
                asm.move(block, asm.element_bytes, "dw: next output channel")
            asm.move(
                block, weights.oc_block_bytes - self.n_channels * asm.element_bytes, "dw: next block of output channels"
            )
        asm.gp.free(sums, dw, block, tap, left)
