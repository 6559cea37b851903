"""Input gradient of a convolution behind a max pool with a large window, from the live entries only.

Lanes are input channels. A live entry (gradient dy of channel oc, whose code names position p of the window) adds
dy * w[oc, :, i, j] to the kh x kw pixels of dx that p's taps read. The pixels that one window touches, its patch of dx,
lie on the frame: cleared before a window with live entries, added to dx behind it, but for rows and columns that lie
outside. Where an entry's sums are in the patch, a table of offsets tells by its code, so that no code of the kernel
depends on the number of positions.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.sparse.conv2d_dx_sparse_frame import SparseInput
from asmgen.plan.specs import Conv2dBackwardInputSparse
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts
from asmgen.tile.sparse.conv2d_dx_scatter import PatchTile, patch_bytes

_NOTES = ("a pixel of dx is the sum of its windows' patches, in the order of the channel sets and windows",)
_UNROLL = 8  # pixels of the patch that are cleared in one iteration


def emit(spec: Conv2dBackwardInputSparse, isa: Isa, tile: PatchTile) -> Listing:
    """As asmgen/kernels/sparse/conv2d_dx_sparse.py says, from a list with codes."""
    return _Kernel(spec, isa, tile).emit()


class _Kernel(SparseInput):
    """plane: the patch's pixels for one vector of input channels; a pixel is as large as one of dx."""

    def __init__(self, spec: Conv2dBackwardInputSparse, isa: Isa, tile: PatchTile) -> None:
        super().__init__(spec, isa, tile, "asmgen/kernels/sparse/conv2d_dx_scatter.py", _NOTES, patch_bytes(spec, tile))
        self.patch = self.frame
        self.pixel_bytes = spec.dx.pixel_bytes
        self.patch_row_bytes = self.patch_cols * self.pixel_bytes
        self.plane_bytes = self.patch_rows * self.patch_row_bytes

    def _begin(self) -> None:
        asm = self.asm
        self.offsets, self.at = asm.gp.alloc("offsets of positions"), asm.gp.alloc("offset in the patch")
        x86.LEA(self.offsets, self._table())

    def _table(self) -> Any:
        """Bytes from the patch's first pixel to the first tap of each position."""
        offsets = [
            r * self.conv.sh * self.patch_row_bytes + s * self.conv.sw * self.pixel_bytes
            for r in range(self.ph)
            for s in range(self.pw)
        ]
        padding = [0] * (-len(offsets) % self.asm.lanes)
        return self.asm.integer_constant("offsets", offsets + padding, "bytes of the patch to the positions")

    def _row_of_windows(self) -> None:
        asm, live = self.asm, self.live
        x86.MOV(self.x0, -self.conv.pl)
        with asm.loop("w", self.spec.dy.w, on_stack=True):
            self._window()
            asm.move(self.gradients, live.gradient_pixel_bytes, "gradients: next pixel")
            asm.move(self.masks, live.mask_pixel_bytes, "masks: next pixel")
            asm.move(self.codes, live.code_pixel_bytes, "codes: next pixel")
            asm.move(
                self.dx, self.col_step * self.dx_layout.pixel_bytes, f"dx: next window, {self.col_step} columns on"
            )
            asm.move(self.x0, self.col_step, f"next window, {self.col_step} columns on")

    def _window(self) -> None:
        """One window; the pointers stay."""
        asm = self.asm
        empty = asm.label("empty")
        x86.MOV(self.mask, [self.masks])
        x86.TEST(self.mask, self.mask)
        x86.JZ(empty)
        self._clear()
        asm.comment("patch += gradient of a live entry * the weights of its channel, where its code says")
        with asm.set_bits("live", "live channels", self.mask, self.oc):
            self._entry()
        self._add_to_dx()
        asm.place(empty)

    def _clear(self) -> None:
        asm = self.asm
        asm.comment("patch = 0")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        x86.LEA(self.at, [self.patch])
        for count, n in parts(self.vectors * self.patch_rows * self.patch_cols, _UNROLL):
            with asm.loop("clear", count):
                for pixel in range(n):
                    asm.v.store([self.at + pixel * self.pixel_bytes], zero)
                asm.move(self.at, n * self.pixel_bytes, f"patch: {advance(n, 'pixel')}")
        asm.vec.free(zero)

    def _entry(self) -> None:
        asm, w = self.asm, self.weights
        gradient, total = asm.vec.alloc("gradient"), asm.vec.alloc("sum")
        asm.v.broadcast(gradient, [self.gradients + self.oc * asm.element_bytes])
        x86.MOVZX(self.at.as_dword, x86.byte[self.codes + self.oc * 1])
        if asm.element_bytes == 4:
            x86.MOV(self.at.as_dword, x86.dword[self.offsets + self.at * 4])
        else:
            x86.MOV(self.at, x86.qword[self.offsets + self.at * 8])
        x86.IMUL(self.oc, self.oc, w.oc_bytes)
        x86.ADD(self.oc, self.w)
        for g in range(self.vectors):
            for i in range(w.kh):
                for j in range(w.kw):
                    place = g * self.plane_bytes + i * self.patch_row_bytes + j * self.pixel_bytes
                    weight = [self.oc + g * w.c_block_bytes + (i * w.kw + j) * w.tap_bytes]
                    asm.v.load(total, [self.patch + self.at * 1 + place])
                    asm.v.fma(total, *((weight, gradient) if asm.v.needs_scratch() else (gradient, weight)))
                    asm.v.store([self.patch + self.at * 1 + place], total)
        asm.v.release_scratch()
        asm.vec.free(gradient, total)

    def _add_to_dx(self) -> None:
        """dx += the patch, where it lies inside."""
        asm, dx = self.asm, self.dx_layout
        asm.comment("dx += patch, inside of dx")
        n_cols, outside = asm.stack_slot("columns of the patch in dx"), asm.label("outside")
        at_dx, left = self.oc, self.mask
        self._inside(self.x0, self.patch_cols, dx.w, left, outside)
        x86.MOV(n_cols, left)
        x86.IMUL(self.at, self.temp, self.pixel_bytes)
        x86.LEA(at_dx, [self.dx + self.at * 1])
        self._inside(self.y0, self.patch_rows, dx.h, left, outside)
        x86.LEA(self.at, [self.patch + self.at * 1])
        first = asm.gp.alloc("bytes of rows outside")
        x86.IMUL(first, self.temp, self.patch_row_bytes)
        x86.ADD(self.at, first)
        x86.IMUL(self.temp, self.temp, dx.row_bytes)
        x86.ADD(at_dx, self.temp)
        asm.gp.free(first)
        total = asm.vec.alloc("sum")
        with asm.loop("row", "rows in dx", left, on_stack=True):
            x86.MOV(left, n_cols)
            with asm.loop("column", "columns in dx", left):
                for g in range(self.vectors):
                    asm.v.load(total, [self.at + g * self.plane_bytes])
                    asm.v.add(total, total, [at_dx + g * dx.plane_bytes])
                    asm.v.store([at_dx + g * dx.plane_bytes], total)
                asm.move(self.at, self.pixel_bytes, "patch: next pixel")
                asm.move(at_dx, dx.pixel_bytes, "dx: next pixel")
            x86.IMUL(self.temp, n_cols, self.pixel_bytes)
            x86.SUB(self.at, self.temp)
            x86.SUB(at_dx, self.temp)
            asm.move(self.at, self.patch_row_bytes, "patch: next row")
            asm.move(at_dx, dx.row_bytes, "dx: next row + halo")
        asm.place(outside)
        asm.vec.free(total)

    def _inside(self, corner: Any, extent: int, size: int, count: Any, outside: Any) -> None:
        """temp = the patch's first row or column inside of dx, count = how many are; to `outside` if none."""
        asm = self.asm
        starts, ends = asm.label("starts_inside"), asm.label("ends_inside")
        x86.XOR(self.temp.as_dword, self.temp.as_dword)
        x86.TEST(corner, corner)
        x86.JNS(starts)
        x86.SUB(self.temp, corner)
        asm.place(starts)
        x86.MOV(count, size)
        x86.SUB(count, corner)
        x86.CMP(count, extent)
        x86.JLE(ends)
        x86.MOV(count, extent)
        asm.place(ends)
        x86.SUB(count, self.temp)
        x86.JLE(outside)
