"""Forward convolution of a first layer with few output channels; lanes are neighbouring pixels of a row.

    z[oc][ow .. ow+V-1] = b[oc] + sum over c,i,j of x[c, oh*sh+i-pt, ow+j-pl .. ow+V-1+j-pl] * w[oc,c,i,j]

A vector of pixels is loaded from the strip on the frame at any alignment and meets the broadcast weight of every
channel of the tile. The strip's rows are wide enough for the last vector, whose lanes behind the row's end are summed
and dropped. Every sum is one chain over c, i, j that starts at the bias. What a pool and an activation leave are one
vector of pixels for each channel, which shuffles turn into pixels of V channels, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.conv.channels_to_pixels import PixelStore
from asmgen.kernels.conv.conv2d_fwd_frame import ForwardKernel
from asmgen.plan.specs import Conv2dForward
from asmgen.tile.common.count_text import advance
from asmgen.tile.conv.conv2d_fwd_pixel_lanes import PART_BYTES, ChannelRun, PixelTile, block_runs, n_vectors, row_runs

_NOTES = (
    "acc[r][p][k]: V neighbouring pixels of row r, vector p of the tile; channel k of the tile",
    "x[r][p]: the pixels under one tap of acc[r][p]; w[k][i][j]: tap (i, j) of channel k, in every lane",
)
_EVEN = {4: 0b10_00_10_00, 8: 0}  # of two vectors, per 128 bits: SHUFPS, SHUFPD
_ODD = {4: 0b11_01_11_01, 8: 0xFF}


def emit(spec: Conv2dForward, isa: Isa, tile: PixelTile) -> Listing:
    """As asmgen/kernels/conv/conv2d_fwd.py says."""
    return _Kernel(spec, isa, tile).emit()


class _Kernel(ForwardKernel):
    def __init__(self, spec: Conv2dForward, isa: Isa, tile: PixelTile) -> None:
        lanes = spec.conv.weights.block
        super().__init__(
            spec, isa, tile, "asmgen/kernels/conv/conv2d_fwd_pixel_lanes.py", _NOTES, n_vectors(spec, lanes) * lanes
        )
        self.tile, self.lanes = tile, lanes
        self.pixel_store = PixelStore(self.asm, spec.y)

    def _row(self) -> None:
        """Blocks of output channels, tiles of a block; pointers move only where there are several."""
        several = self.weights.n_oc_blocks > 1
        for n_blocks, runs in block_runs(self.spec, self.tile.channels):
            with self.asm.loop("oc_block", n_blocks, on_stack=True):
                self._block(runs)
                self._move_blocks(several)
        self._move_blocks(-self.weights.n_oc_blocks * several)
        self.asm.move(self.x, self.ph * self.conv.sh * self.x_layout.row_bytes, "x: rows under the next row of y")
        self.asm.move(self.y, self.y_layout.row_bytes, "y: next row + halo")
        if self.codes is not None:
            self.asm.move(self.codes, self._code_row_bytes(), "codes: next row")

    def _block(self, runs: list[ChannelRun]) -> None:
        """One row of y of one block of output channels."""
        several = sum(run.count for run in runs) > 1
        for run in runs:
            with self.asm.loop("oc", run.count, on_stack=True):
                self._tiles(run)
                self._move_channels(run.channels * several)
        self._move_channels(-sum(run.count * run.channels for run in runs) * several)

    def _tiles(self, run: ChannelRun) -> None:
        """One row of y of some channels."""
        runs = row_runs(self.spec, self.lanes, self.tile.vectors)
        several = sum(count for count, _, _ in runs) > 1
        for count, vectors, cols in runs:
            with self.asm.loop("ow", count, on_stack=True):
                self._tile(run, vectors, cols // self.pw)
                self._move_columns(cols * several)
        self._move_columns(-self.conv.ow * several)

    def _move_blocks(self, n_blocks: int) -> None:
        y = self.y_layout
        self.asm.move(
            self.w, n_blocks * self.weights.oc_block_bytes, f"w: {advance(n_blocks, 'block')} of output channels"
        )
        if self.bias is not None:
            self.asm.move(self.bias, n_blocks * self.weights.tap_bytes, f"bias: {advance(n_blocks, 'vector')}")
        self.asm.move(self.y, n_blocks * y.plane_bytes, f"y: {advance(n_blocks, 'block')} of channels")
        if self.codes is not None:
            self.asm.move(
                self.codes, n_blocks * y.h * self._code_row_bytes(), f"codes: {advance(n_blocks, 'block')} of channels"
            )

    def _move_channels(self, n_channels: int) -> None:
        """Within a block."""
        element_bytes = self.weights.element_bytes
        self.asm.move(self.w, n_channels * element_bytes, f"w: {advance(n_channels, 'output channel')} of the block")
        if self.bias is not None:
            self.asm.move(
                self.bias, n_channels * element_bytes, f"bias: {advance(n_channels, 'output channel')} of the block"
            )
        self.asm.move(self.y, n_channels * element_bytes, f"y: {advance(n_channels, 'channel')} of the block")
        if self.codes is not None:
            self.asm.move(self.codes, n_channels, f"codes: {advance(n_channels, 'channel')} of the block")

    def _move_columns(self, cols: int) -> None:
        self.asm.move(self.x, cols * self.x_layout.pixel_bytes, f"x: {advance(cols, 'pixel')}")
        self.asm.move(self.y, cols // self.pw * self.y_layout.pixel_bytes, f"y: {advance(cols // self.pw, 'pixel')}")
        if self.codes is not None:
            self.asm.move(
                self.codes,
                cols // self.pw * self.y_layout.code_pixel_bytes,
                f"codes: {advance(cols // self.pw, 'pixel')}",
            )

    # one tile --------------------------------------------------------------------------------------------------------

    def _tile(self, run: ChannelRun, vectors: int, n_pixels: int) -> None:
        """n_pixels: of y, that exist."""
        asm = self.asm
        asm.comment(f"tile: {self.ph} rows x {vectors} vectors of pixels x {run.channels} channels")
        acc = [
            [[asm.vec.alloc(f"acc[{r}][{p}][{k}]") for k in range(run.channels)] for p in range(vectors)]
            for r in range(self.ph)
        ]
        self._start(acc)
        self._accumulate(acc)
        self._store(acc, run, n_pixels)

    def _start(self, acc: list[list[list[Any]]]) -> None:
        """acc = bias, or 0."""
        for k, first in enumerate(acc[0][0]):
            if self.bias is not None:
                self.asm.v.broadcast(first, [self.bias + k * self.weights.element_bytes])
                self.asm.note(f"bias[{k}]")
        for row in acc:
            for vector in row:
                for k, register in enumerate(vector):
                    if self.bias is None:
                        self.asm.v.zero(register)
                    else:
                        self.asm.v.mov(register, acc[0][0][k])

    def _accumulate(self, acc: list[list[list[Any]]]) -> None:
        """Loops over channels, and over rows of taps where they are not unrolled."""
        asm, x, weights = self.asm, self.x_layout, self.weights
        if weights.c == 1 and self.tile.unroll_rows:
            self._rows_of_taps(acc, self.x, self.w)
            return
        x_at, w_at = asm.gp.alloc("x at channel"), asm.gp.alloc("w at channel")
        x86.MOV(x_at, self.x)
        x86.MOV(w_at, self.w)
        with asm.loop("c", weights.c):
            if self.tile.unroll_rows:
                self._rows_of_taps(acc, x_at, w_at)
                asm.move(x_at, x.plane_bytes, "x: next channel")
                asm.move(w_at, weights.channel_bytes, "w: next channel")
            else:
                with asm.loop("kh", weights.kh):
                    self._row_of_taps(acc, x_at, w_at, None)
                    asm.move(x_at, x.row_bytes, "x: next tap row")
                    asm.move(w_at, weights.row_bytes, "w: next tap row")
                asm.move(x_at, x.plane_bytes - weights.kh * x.row_bytes, "x: next channel, tap row 0")
        asm.gp.free(x_at, w_at)

    def _rows_of_taps(self, acc: list[list[list[Any]]], x: Any, w: Any) -> None:
        for i in range(self.weights.kh):
            if self.weights.kh > 1:
                self.asm.comment(f"row tap {i}")
            self._row_of_taps(acc, x + i * self.x_layout.row_bytes, w + i * self.weights.row_bytes, i)

    def _row_of_taps(self, acc: list[list[list[Any]]], x: Any, w: Any, i: int | None) -> None:
        """x, w: the addresses of the row's first pixel and weight; i: which row, None where it is counted."""
        asm, strip, weights = self.asm, self.x_layout, self.weights
        n_vectors, tap_row = len(acc[0]), "kh" if i is None else i
        weight = asm.vec.alloc("w")
        pixels = [[asm.vec.alloc(f"x[{r}][{p}]") for p in range(n_vectors)] for r in range(self.ph)]
        for j in range(weights.kw):
            for r, row in enumerate(pixels):
                for p, register in enumerate(row):
                    at = r * self.conv.sh * strip.row_bytes + (p * self.lanes + j) * strip.pixel_bytes
                    asm.v.load(register, [x + at])
                    asm.note(f"x[{r}][{p}] under tap ({tap_row}, {j})")
            for k in range(len(acc[0][0])):
                asm.v.broadcast(weight, [w + j * weights.tap_bytes + k * weights.element_bytes])
                asm.note(f"w[{k}][{tap_row}][{j}]")
                for r, row in enumerate(pixels):
                    for p, register in enumerate(row):
                        asm.v.fma(acc[r][p][k], register, weight)
        asm.vec.free(weight, *(register for row in pixels for register in row))

    # what becomes of the sums -----------------------------------------------------------------------------------------

    def _store(self, acc: list[list[list[Any]]], run: ChannelRun, n_pixels: int) -> None:
        """Pool, activate and store the tile; frees the sums."""
        asm, lanes = self.asm, self.lanes
        for first in range(0, len(acc[0]), self.pw):
            pooled = first // self.pw
            mine = min(lanes, n_pixels - pooled * lanes)
            order = self._order(first, len(acc[0]))
            asm.comment(f"{self.epilogue.phase()}: vector {pooled} of pixels")
            self.pixel_store.open(self.y, self.codes, pooled * lanes, order, mine)
            for k in range(run.channels):
                self.pixel_store.channel(*self._result(acc, first, k))
            self.pixel_store.close(run.pad_lanes)
        asm.v.release_scratch()

    def _order(self, first: int, vectors: int) -> list[int]:
        """Which pixel, counted from the vector's first, a lane of the pooled vector holds; those >= V repeat others."""
        lanes = self.lanes
        if self.pw == 1:
            return list(range(lanes))
        part = PART_BYTES // self.weights.element_bytes
        half = part // 2
        return [
            lane // part * half + lane % half + (lanes // 2 if lane % part >= half else 0)
            + (lanes if lane % part >= half and first + 1 == vectors else 0)
            for lane in range(lanes)
        ]  # fmt: skip

    def _result(self, acc: list[list[list[Any]]], first: int, k: int) -> tuple[Any, Any]:
        """The registers with y and (or None) the codes of channel k, from vectors `first` and, of pairs, the next."""
        asm = self.asm
        code = asm.vec.alloc("code") if self.codes is not None else None
        spare = asm.vec.alloc("activated") if self.spec.act else None
        total = asm.vec.alloc("mean") if self.spec.pool and self.spec.pool.kind == "avg" else None
        if total is not None and spare is None:
            spare = asm.vec.alloc("live")
        window = _Window(asm, self._window(acc, first, k))
        result = self.epilogue.result(window, code, spare, total)
        asm.vec.free(*{r for r in (spare, total, window.last) if r is not None and r != result})
        return result, code

    def _window(self, acc: list[list[list[Any]]], first: int, k: int) -> Iterator[Any]:
        """The windows' positions in row-major order, each as a vector that is made when it is asked for."""
        asm = self.asm
        for row in acc:
            left = row[first][k]
            if self.pw == 1:
                yield left
                continue
            right = row[first + 1][k] if first + 1 < len(row) else left
            even = asm.vec.alloc("even columns")
            asm.v.shuffle(even, left, right, _EVEN[asm.element_bytes])
            asm.note("per 128 bits: even columns of two vectors")
            yield even
            asm.v.shuffle(left, left, right, _ODD[asm.element_bytes])
            if right is not left:
                asm.vec.free(right)
            yield left


class _Window:
    """Registers, one after the other; each is given back when the one behind it has been taken in, but the last."""

    def __init__(self, asm: Assembler, positions: Iterator[Any]) -> None:
        self._asm, self._positions = asm, positions
        self.last: Any = None

    def __iter__(self) -> Iterator[Any]:
        for register in self._positions:
            before, self.last = self.last, register
            yield register
            if before is not None:
                self._asm.vec.free(before)
