"""Input gradient of a convolution behind a max pool, from the live entries only.

A live entry (gradient dy of channel oc, at position p of a window) adds dy * w[oc, :, i, j] to the kh x kw pixels of
dx that p's taps read. Lanes are input channels. The pixels that one window touches, its patch of dx, are summed in
registers while the entries of its positions are walked, position by position, so that every accumulator of an entry
is known when the kernel is generated. An entry costs one broadcast and kh*kw multiply-adds with weights from memory:
those of one set of output channels and one vector of input channels, which stay in L1 while the image goes by.

A row of windows is swept from left to right: the columns of the patch that the next window shares stay in registers,
the others are stored and loaded. dx itself holds the sums between sweeps. Its rows are zeroed just before the first
window that touches them; rows and columns of a patch that lie outside dx are neither loaded nor stored.

Windows of many positions have their patch in memory: asmgen/kernels/sparse/conv2d_dx_scatter.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.sparse import conv2d_dx_scatter
from asmgen.kernels.sparse.conv2d_dx_sparse_frame import SparseInput
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.live_list import MASK_BYTES
from asmgen.plan.specs import Conv2dBackwardInputSparse
from asmgen.tile.common.count_text import counted
from asmgen.tile.sparse.conv2d_dx_scatter import PatchTile
from asmgen.tile.sparse.conv2d_dx_sparse import SparseInputTile, Sweep, choose_tile

Patch = list[list[list[Any]]]  # registers [row][column][vector]

_MAX_PREFETCHES = 64  # of a window


def emit(spec: Conv2dBackwardInputSparse, isa: Isa, tile: SparseInputTile | PatchTile | None = None) -> Listing:
    """The kernel of one shape: rdi list, rsi w, rdx dx (overwritten, halo untouched), slice of samples."""
    tile = tile or choose_tile(spec, isa)
    if isinstance(tile, PatchTile):
        return conv2d_dx_scatter.emit(spec, isa, tile)
    return _Kernel(spec, isa, tile).emit()


class _Kernel(SparseInput):
    def __init__(self, spec: Conv2dBackwardInputSparse, isa: Isa, tile: SparseInputTile) -> None:
        super().__init__(spec, isa, tile, "asmgen/kernels/sparse/conv2d_dx_sparse.py", ())
        self.tile = tile

    def _row_of_windows(self) -> None:
        live, dx = self.live, self.dx_layout
        for index, sweep in enumerate(self.tile.sweeps):
            if index > 0:
                self.asm.move(self.gradients, -live.gradient_row_bytes, "gradients: back to the row's first pixel")
                self.asm.move(self.masks, -live.mask_row_bytes, "masks: back to the row's first pixel")
                self.asm.move(
                    self.dx, -self.spec.dy.w * self.col_step * dx.pixel_bytes, "dx: back to the row's first window"
                )
            self._sweep(sweep)

    def _sweep(self, sweep: Sweep) -> None:
        """One part of all windows of a row; list and dx end behind the row."""
        asm, live, n_windows = self.asm, self.live, self.spec.dy.w
        rows, cols = sweep.patch(self.conv)
        kept = max(0, cols.count - self.col_step)
        asm.comment(
            f"positions {sweep.rows.first}..{sweep.rows.stop - 1} x {sweep.cols.first}..{sweep.cols.stop - 1} of the "
            f"windows, taps {sweep.tap_rows.first}..{sweep.tap_rows.stop - 1} x "
            f"{sweep.tap_cols.first}..{sweep.tap_cols.stop - 1}"
        )
        asm.phase("windows" if len(self.tile.sweeps) == 1 else "sweeps over windows")
        patch = [
            [[asm.vec.alloc(f"patch[{g}][{i}][{j}]") for g in range(self.tile.vectors)] for j in range(cols.count)]
            for i in range(rows.count)
        ]
        gradient = asm.vec.alloc("gradient")
        x86.MOV(self.x0, -self.conv.pl)
        self._visit(sweep, range(kept), range(1), patch, self._load)
        with asm.loop("w", n_windows):
            windows = range(n_windows)
            asm.comment("load the columns that this window is the first to touch, where they lie in dx")
            self._visit(sweep, range(kept, cols.count), windows, patch, self._load)
            if sweep is self.tile.sweeps[0] and self.spec.dy.h > 1:
                self._prefetch_new_rows()
            asm.comment("patch += gradient of a live entry * the weights of its channel, position by position")
            for r in range(sweep.rows.count):
                for s in range(sweep.cols.count):
                    self._position(sweep, r, s, patch, gradient)
            asm.comment("store the columns that this window is the last to touch; the others move to the left")
            self._visit(sweep, range(cols.count - kept), windows, patch, self._store)
            for row in patch:
                for j in range(kept):
                    for target, source in zip(row[j], row[j + self.col_step], strict=True):
                        asm.v.mov(target, source)
            asm.move(self.gradients, live.gradient_pixel_bytes, "gradients: next pixel")
            asm.move(self.masks, live.mask_pixel_bytes, "masks: next pixel")
            asm.move(
                self.dx,
                self.col_step * self.dx_layout.pixel_bytes,
                f"dx: next window, {counted(self.col_step, 'column')} on",
            )
            asm.move(self.x0, self.col_step, f"next window, {counted(self.col_step, 'column')} on")
        self._visit(sweep, range(kept), range(n_windows, n_windows + 1), patch, self._store)
        asm.v.release_scratch()
        asm.vec.free(gradient, *(register for row in patch for column in row for register in column))
        asm.phase()

    def _prefetch_new_rows(self) -> None:
        """The pixels of dx below this window that the next row of windows will zero."""
        dx = self.dx_layout
        if self.row_step * -(-self.col_step * dx.pixel_bytes // LINE_BYTES) * self.tile.vectors > _MAX_PREFETCHES:
            return
        self.asm.comment("fetch the pixels that are zeroed before the next row of windows")
        for i in range(self.row_step):
            for at in range(0, self.col_step * dx.pixel_bytes, LINE_BYTES):
                for g in range(self.tile.vectors):
                    offset = (self.patch_rows + i) * dx.row_bytes + self.conv.pl * dx.pixel_bytes + at
                    x86.PREFETCHT0([self.dx + g * dx.plane_bytes + offset])

    def _position(self, sweep: Sweep, r: int, s: int, patch: Patch, gradient: Any) -> None:
        """The live entries of position (r, s) of the sweep's part of the window."""
        asm, w, conv = self.asm, self.weights, self.conv
        position = (sweep.rows.first + r) * self.pw + sweep.cols.first + s
        x86.MOV(self.mask, [self.masks + position * MASK_BYTES])
        asm.note(f"position {position}")
        with asm.set_bits("live", "live channels", self.mask, self.oc):
            asm.v.broadcast(gradient, [self.gradients + self.oc * self.live.dy.element_bytes])
            x86.IMUL(self.oc, self.oc, w.oc_bytes)
            x86.ADD(self.oc, self.w)
            for i in range(sweep.tap_rows.count):
                for j in range(sweep.tap_cols.count):
                    for g, target in enumerate(patch[r * conv.sh + i][s * conv.sw + j]):
                        tap = (sweep.tap_rows.first + i) * w.kw + sweep.tap_cols.first + j
                        weight = [self.oc + g * w.c_block_bytes + tap * w.tap_bytes]
                        # The product is made in a copy of its first factor: loading one is cheaper than moving one.
                        asm.v.fma(target, *((weight, gradient) if asm.v.needs_scratch() else (gradient, weight)))

    def _load(self, register: Any, address: Any) -> None:
        self.asm.v.load(register, [address])

    def _store(self, register: Any, address: Any) -> None:
        self.asm.v.store([address], register)

    def _visit(
        self, sweep: Sweep, columns: range, windows: range, patch: Patch, move: Callable[[Any, Any], None]
    ) -> None:
        """move(register, address) for `columns` of the patch, where they lie in dx; windows: where the patch may be."""
        dx, conv, dy = self.dx_layout, self.conv, self.spec.dy
        rows, cols = sweep.patch(conv)
        lefts = [window * self.col_step - conv.pl for window in (windows[0], windows[-1])]
        tops = [row * self.row_step - conv.pt for row in (0, dy.h - 1)]
        for j in columns:
            with self._inside(self.x0, cols.first + j, lefts, dx.w) as has_column:
                for i in range(rows.count) if has_column else ():
                    with self._inside(self.y0, rows.first + i, tops, dx.h) as has_row:
                        for g in range(self.tile.vectors) if has_row else ():
                            at = (rows.first + i) * dx.row_bytes + (cols.first + j) * dx.pixel_bytes
                            move(patch[i][j][g], self.dx + at + g * dx.plane_bytes)

    @contextmanager
    def _inside(self, corner: Any, offset: int, corners: list[int], size: int) -> Iterator[bool]:
        """Skip the body at run time unless 0 <= corner + offset < size; yields whether that ever holds.

        corners: the first and last value of the register; no code where they decide it.
        """
        low, high = corners[0] + offset, corners[-1] + offset
        if low >= size or high < 0 or (low == high) or (low >= 0 and high < size):
            yield low < size and high >= 0
            return
        outside = self.asm.label("column_outside" if corner is self.x0 else "row_outside")
        if offset:
            x86.LEA(self.temp, [corner + offset])
        x86.CMP(self.temp if offset else corner, size)
        x86.JAE(outside)
        yield True
        self.asm.place(outside)
