"""Input gradient of a convolution behind a max pool, from the live entries only.

A live entry (gradient dy of channel oc, at position p of a window) adds dy * w[oc, :, i, j] to the kh x kw pixels of
dx that p's taps read. Lanes are input channels. The pixels that one window touches, its patch of dx, are summed in
registers while the entries of its positions are walked, position by position, so that every accumulator of an entry
is known when the kernel is generated. An entry costs one broadcast and kh*kw multiply-adds with weights from memory:
those of one group of output channels and one vector of input channels, which stay in L1 while the image goes by.

A row of windows is swept from left to right: the columns of the patch that the next window shares stay in registers,
the others are stored and loaded. dx itself holds the sums between sweeps. Its rows are zeroed just before the first
window that touches them; rows and columns of a patch that lie outside dx are neither loaded nor stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.window import add
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.live_list import MASK_BYTES
from asmgen.plan.specs import Conv2dBackwardInputSparse, dtype_tag
from asmgen.tile.conv2d_dx_sparse import SparseInputTile, Sweep, choose_tile
from asmgen.tile.split import parts

Patch = list[list[list[Any]]]  # registers [row][column][vector]

_UNROLL_ZEROS = 8  # stores of one iteration


def emit(spec: Conv2dBackwardInputSparse, isa: Isa, tile: SparseInputTile | None = None) -> Listing:
    """The kernel of one shape: rdi list, rsi w, rdx dx (overwritten, halo untouched), slice of samples."""
    return _Kernel(spec, isa, tile or choose_tile(spec, isa)).emit()


class _Kernel:
    """Registers and loops of one kernel. x0, y0: column and row of dx under the patch's corner of the window at hand.

    dx points at that corner, which may lie outside; the pointers advance and rewind by immediates as the loops go.
    """

    def __init__(self, spec: Conv2dBackwardInputSparse, isa: Isa, tile: SparseInputTile) -> None:
        self.spec, self.tile, self.conv = spec, tile, spec.conv
        self.live, self.dx_layout, self.weights = spec.live, spec.dx, spec.conv.weights.by_input()
        self.asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
        self.ph, self.pw = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
        self.row_step, self.col_step = self.ph * self.conv.sh, self.pw * self.conv.sw
        self.patch_rows = (self.ph - 1) * self.conv.sh + self.conv.weights.kh

    def emit(self) -> Listing:
        asm, dx, w, live = self.asm, self.dx_layout, self.weights, self.live
        n_rounds = dx.n_c_blocks // self.tile.vectors
        groups_rows = live.n_groups * self.spec.dy.h
        with asm:
            n_samples = self._take_registers()
            with asm.loop("n", "end - begin", n_samples, on_stack=True):
                asm.gp.free(n_samples)
                with asm.loop("c", n_rounds, on_stack=True):
                    x86.MOV(self.n_ready, 0)
                    with asm.loop("oc", live.n_groups, on_stack=True):
                        self._group()
                    self._zero_below()
                    add(self.gradients, -groups_rows * live.gradient_row_bytes)
                    add(self.masks, -groups_rows * live.mask_row_bytes)
                    add(self.w, self.tile.vectors * w.c_block_bytes - live.n_groups * live.group * w.oc_bytes)
                    add(self.dx, self.tile.vectors * dx.plane_bytes)
                add(self.gradients, live.sample_bytes)
                add(self.masks, live.sample_bytes)
                add(self.w, -dx.n_c_blocks * w.c_block_bytes)
                add(self.dx, dx.sample_bytes - dx.n_c_blocks * dx.plane_bytes)
        return asm.finish(self._facts())

    def _take_registers(self) -> Any:
        """Names the registers and moves the pointers to the slice's first sample; returns the number of samples."""
        asm, conv, dx = self.asm, self.conv, self.dx_layout
        self.gradients, self.w = asm.argument(0, "list: gradients"), asm.argument(1, "w")
        self.dx = asm.argument(2, "dx under the patch's corner")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.masks = asm.gp.alloc("list: masks")
        self.temp = asm.gp.alloc("temporary")
        self.n_ready = asm.stack_slot("rows of dx that are zeroed")
        asm.comment("the slice's first sample")
        x86.SUB(end, begin)
        x86.IMUL(self.temp, begin, self.live.sample_bytes)
        x86.ADD(self.gradients, self.temp)
        x86.LEA(self.masks, [self.gradients + self.live.masks_offset_bytes])
        x86.IMUL(self.temp, begin, dx.sample_bytes)
        x86.ADD(self.dx, self.temp)
        add(self.dx, dx.offset_bytes(h=-conv.pt, w=-conv.pl))
        asm.gp.free(begin)
        self.x0, self.y0 = asm.gp.alloc("x0"), asm.gp.alloc("y0")
        self.mask, self.oc = asm.gp.alloc("mask of live channels"), asm.gp.alloc("channel / its weights")
        return end

    def _group(self) -> None:
        """All of dx, with the entries of one group of output channels."""
        asm, dx, live = self.asm, self.dx_layout, self.live
        x86.MOV(self.y0, -self.conv.pt)
        with asm.loop("h", self.spec.dy.h, on_stack=True):
            self._zero_new_rows()
            row_bytes = self.spec.dy.w * self.col_step * dx.pixel_bytes
            for index, sweep in enumerate(self.tile.sweeps):
                if index > 0:
                    add(self.gradients, -live.gradient_row_bytes)
                    add(self.masks, -live.mask_row_bytes)
                    add(self.dx, -row_bytes)
                self._sweep(sweep)
            add(self.dx, self.row_step * dx.row_bytes - row_bytes)
            add(self.y0, self.row_step)
        add(self.dx, -self.spec.dy.h * self.row_step * dx.row_bytes)
        add(self.w, live.group * self.weights.oc_bytes)

    # rows of dx before their first window ------------------------------------------------------------------------

    def _zero_new_rows(self) -> None:
        """Rows n_ready.. of dx that these windows touch; none once the first group is through."""
        asm, dx, row = self.asm, self.dx_layout, self.oc
        n_rows = self.mask
        asm.comment("zero the rows of dx that no window before touched, up to min(h, y0 + rows of a patch)")
        ready, inside = asm.label("rows_ready"), asm.label("rows_inside")
        x86.LEA(n_rows, [self.y0 + self.patch_rows])
        x86.CMP(n_rows, dx.h)
        x86.JLE(inside)
        x86.MOV(n_rows, dx.h)
        asm.place(inside)
        x86.MOV(row, self.n_ready)
        x86.SUB(n_rows, row)
        x86.JLE(ready)
        x86.ADD(self.n_ready, n_rows)
        x86.SUB(row, self.y0)
        x86.IMUL(row, row, dx.row_bytes)
        x86.LEA(row, [self.dx + row * 1 + self.conv.pl * dx.pixel_bytes])
        with asm.loop("new", "rows not touched yet", n_rows):
            self._zero_row(row)
        asm.place(ready)

    def _zero_below(self) -> None:
        """The last rows of dx, which no window touches."""
        dx, conv = self.dx_layout, self.conv
        reached = max(0, min(dx.h, (self.spec.dy.h - 1) * self.row_step + self.patch_rows - conv.pt))
        if reached == dx.h:
            return
        self.asm.comment("zero the rows of dx below the last window")
        x86.LEA(self.oc, [self.dx + (reached + conv.pt) * dx.row_bytes + conv.pl * dx.pixel_bytes])
        with self.asm.loop("below", dx.h - reached):
            self._zero_row(self.oc)

    def _zero_row(self, pixel: Any) -> None:
        asm, dx = self.asm, self.dx_layout
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        for count, n in parts(dx.w, _UNROLL_ZEROS):
            with asm.loop("w", count):
                for g in range(self.tile.vectors):
                    for column in range(n):
                        asm.v.store([pixel + g * dx.plane_bytes + column * dx.pixel_bytes], zero)
                add(pixel, n * dx.pixel_bytes)
        add(pixel, dx.row_bytes - dx.w * dx.pixel_bytes)
        asm.vec.free(zero)

    # a row of windows ----------------------------------------------------------------------------------------------

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
            add(self.gradients, live.gradient_pixel_bytes)
            add(self.masks, live.mask_pixel_bytes)
            add(self.dx, self.col_step * self.dx_layout.pixel_bytes)
            add(self.x0, self.col_step)
        self._visit(sweep, range(kept), range(n_windows, n_windows + 1), patch, self._store)
        asm.v.release_scratch()
        asm.vec.free(gradient, *(register for row in patch for column in row for register in column))

    def _prefetch_new_rows(self) -> None:
        """The pixels of dx below this window that the next row of windows will zero."""
        dx = self.dx_layout
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

    def _facts(self) -> Facts:
        spec, conv, dx, w, live = self.spec, self.conv, self.dx_layout, self.weights, self.live
        ctype = dtype_tag(dx.dtype)
        row, col = (f"{o}*{step}" if step > 1 else o for o, step in (("oh", conv.sh), ("ow", conv.sw)))
        oh, ow = (f"h*{self.ph} + p/{self.pw}", f"w*{self.pw} + p%{self.pw}") if spec.pool else ("h", "w")
        return Facts(
            title=f"conv2d_dx_sparse  {dx.n} x c{spec.dy.c} h{spec.dy.h} w{spec.dy.w} -> c{dx.c} h{dx.h} w{dx.w}",
            source="asmgen/kernels/conv2d_dx_sparse.py",
            formula=(
                f"dx[n,c,{row}+i-{conv.pt},{col}+j-{conv.pl}] += dy * w[oc,c,i,j]    i < {w.kh}, j < {w.kw}",
                f"for each live entry: dy of channel oc at position p of window (h, w), oh = {oh}, ow = {ow}",
            ),
            arguments=(
                Argument("rdi", "list", ctype, str(live), "in", "by live_entries"),
                Argument("rsi", "w", ctype, str(w), "in", "the bias is not read"),
                Argument("rdx", "dx", ctype, str(dx), "out", "overwritten but for the halo"),
            ),
            slice_unit=f"samples, 0..{spec.slice_units()}",
            flops=spec.flops(),
            flops_note="of the direct algorithm",
            bytes_read=live.size_bytes + w.bias_offset_bytes,
            bytes_written=dx.n * dx.n_c_blocks * dx.h * dx.w * dx.pixel_bytes,
            tile=str(self.tile),
            notes=(
                "zeros of the gradient are not multiplied",
                f"a list's masks lie {live.masks_offset_bytes} B behind its gradients; lists are {live.sample_bytes} B",
            ),
        )
