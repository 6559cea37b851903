"""What the two forms of the sparse input gradient share: the loops down to a row of windows, zeroing dx, the header."""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.specs import Conv2dBackwardInputSparse, dtype_tag
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.sparse.conv2d_dx_scatter import PatchTile
from asmgen.tile.sparse.conv2d_dx_sparse import SparseInputTile

_UNROLL_ZEROS = 8  # stores of one iteration


class SparseInput:
    """Registers and loops of one kernel. x0, y0: column and row of dx under the patch's corner of the window at hand.

    dx points at that corner, which may lie outside; the pointers advance and rewind by immediates as the loops go.
    source, notes: for the header. frame_bytes: of the kernel's own, at `self.frame`.
    """

    def __init__(
        self,
        spec: Conv2dBackwardInputSparse,
        isa: Isa,
        tile: SparseInputTile | PatchTile,
        source: str,
        notes: tuple[str, ...],
        frame_bytes: int = 0,
    ) -> None:
        self.spec, self.conv, self.source, self.notes = spec, spec.conv, source, notes
        self.vectors, self.tile_text = tile.vectors, str(tile)
        self.live, self.dx_layout, self.weights = spec.live, spec.dx, spec.conv.weights.by_input()
        self.asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
        self.frame = self.asm.scratch(frame_bytes) if frame_bytes else None
        pool = spec.pool
        self.ph, self.pw = (pool.ph, pool.pw) if pool else (1, 1)
        self.window_steps = (pool.sh, pool.sw) if pool else (1, 1)
        self.row_step, self.col_step = self.window_steps[0] * self.conv.sh, self.window_steps[1] * self.conv.sw
        self.patch_rows = (self.ph - 1) * self.conv.sh + self.conv.weights.kh
        self.patch_cols = (self.pw - 1) * self.conv.sw + self.conv.weights.kw

    def emit(self) -> Listing:
        asm, dx, w, live = self.asm, self.dx_layout, self.weights, self.live
        n_rounds = dx.n_c_blocks // self.vectors
        n_rows = live.n_channel_sets * self.spec.dy.h
        with asm:
            n_samples = self._take_registers()
            with asm.loop("n", "end - begin", n_samples, on_stack=True):
                asm.gp.free(n_samples)
                with asm.loop("c", n_rounds, on_stack=True):
                    x86.MOV(self.n_ready, 0)
                    with asm.loop("oc", live.n_channel_sets, on_stack=True):
                        self._channel_set()
                    self._zero_below()
                    asm.move(
                        self.gradients,
                        -n_rows * live.gradient_row_bytes,
                        "gradients: back to the sample's first set",
                    )
                    asm.move(self.masks, -n_rows * live.mask_row_bytes, "masks: back to the sample's first set")
                    asm.move(self.codes, -n_rows * live.code_row_bytes, "codes: back to the sample's first set")
                    asm.move(
                        self.w,
                        self.vectors * w.c_block_bytes - live.n_channel_sets * live.set_channels * w.oc_bytes,
                        f"w: {advance(self.vectors, 'block')} of channels, first set",
                    )
                    asm.move(
                        self.dx, self.vectors * dx.plane_bytes, f"dx: {advance(self.vectors, 'block')} of channels"
                    )
                asm.move(self.gradients, live.sample_bytes, "gradients: next sample's list")
                asm.move(self.masks, live.sample_bytes, "masks: next sample's list")
                if live.has_codes:
                    asm.move(self.codes, live.sample_bytes, "codes: next sample's list")
                asm.move(self.w, -dx.n_c_blocks * w.c_block_bytes, "w: back to the first block of channels")
                asm.move(self.dx, dx.sample_bytes - dx.n_c_blocks * dx.plane_bytes, "dx: next sample")
        return asm.finish(self._facts())

    def _take_registers(self) -> Any:
        """Names the registers and moves the pointers to the slice's first sample; returns the number of samples."""
        asm, conv, dx = self.asm, self.conv, self.dx_layout
        self.gradients, self.w = asm.argument(0, "list: gradients"), asm.argument(1, "w")
        self.dx = asm.argument(2, "dx under the patch's corner")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.masks = asm.gp.alloc("list: masks")
        self.codes = asm.gp.alloc("list: codes") if self.live.has_codes else None
        self.temp = asm.gp.alloc("temporary")
        self.n_ready = asm.stack_slot("rows of dx that are zeroed")
        asm.comment("the slice's first sample")
        x86.SUB(end, begin)
        x86.IMUL(self.temp, begin, self.live.sample_bytes)
        x86.ADD(self.gradients, self.temp)
        x86.LEA(self.masks, [self.gradients + self.live.masks_offset_bytes])
        if self.live.has_codes:
            x86.LEA(self.codes, [self.gradients + self.live.codes_offset_bytes])
        x86.IMUL(self.temp, begin, dx.sample_bytes)
        x86.ADD(self.dx, self.temp)
        asm.move(self.dx, dx.offset_bytes(h=-conv.pt, w=-conv.pl), "dx: under tap (0, 0), in the halo")
        asm.gp.free(begin)
        self.x0, self.y0 = asm.gp.alloc("x0"), asm.gp.alloc("y0")
        self.mask, self.oc = asm.gp.alloc("mask of live channels"), asm.gp.alloc("channel / its weights")
        self._begin()
        return end

    def _channel_set(self) -> None:
        """All of dx, with the entries of one set of output channels."""
        asm, dx, live = self.asm, self.dx_layout, self.live
        x86.MOV(self.y0, -self.conv.pt)
        with asm.loop("h", self.spec.dy.h, on_stack=True):
            self._zero_new_rows()
            self._row_of_windows()
            row_bytes = self.spec.dy.w * self.col_step * dx.pixel_bytes
            asm.move(
                self.dx,
                self.row_step * dx.row_bytes - row_bytes,
                f"dx: next row of windows, {counted(self.row_step, 'row')} down",
            )
            asm.move(self.y0, self.row_step, f"next row of windows, {counted(self.row_step, 'row')} down")
        asm.move(self.dx, -self.spec.dy.h * self.row_step * dx.row_bytes, "dx: back to the first row of windows")
        n_channels = live.set_channels
        asm.move(self.w, n_channels * self.weights.oc_bytes, f"w: next set of {n_channels} output channels")

    def _begin(self) -> None:
        """Before the first sample."""

    def _row_of_windows(self) -> None:
        """A row of windows, whose pixels of dx are zeroed; list and dx end behind the row."""
        raise NotImplementedError

    # rows of dx before their first window ------------------------------------------------------------------------

    def _zero_new_rows(self) -> None:
        """Rows n_ready.. of dx that these windows touch; none once the first set is through."""
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
        asm.phase("zeroing rows of dx")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        for count, n in parts(dx.w, _UNROLL_ZEROS):
            with asm.loop("w", count):
                for g in range(self.vectors):
                    for column in range(n):
                        asm.v.store([pixel + g * dx.plane_bytes + column * dx.pixel_bytes], zero)
                asm.move(pixel, n * dx.pixel_bytes, f"dx: {advance(n, 'pixel')}")
        asm.move(pixel, dx.row_bytes - dx.w * dx.pixel_bytes, "dx: next row + halo, first column")
        asm.vec.free(zero)
        asm.phase()

    def _facts(self) -> Facts:
        spec, conv, dx, w, live = self.spec, self.conv, self.dx_layout, self.weights, self.live
        ctype = dtype_tag(dx.dtype)
        row, col = (f"{o}*{step}" if step > 1 else o for o, step in (("oh", conv.sh), ("ow", conv.sw)))
        step_h, step_w = self.window_steps
        oh, ow = (f"h*{step_h} + p/{self.pw}", f"w*{step_w} + p%{self.pw}") if spec.pool else ("h", "w")
        return Facts(
            title=f"{spec.text}  {dx.n} x c{spec.dy.c} h{spec.dy.h} w{spec.dy.w} -> c{dx.c} h{dx.h} w{dx.w}",
            source=self.source,
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
            tile=self.tile_text,
            notes=(
                "zeros of the gradient are not multiplied",
                *self.notes,
                f"a list's masks lie {live.masks_offset_bytes} B behind its gradients; lists are {live.sample_bytes} B",
                *([f"its codes lie {live.codes_offset_bytes} B behind its gradients"] if live.has_codes else []),
            ),
        )
