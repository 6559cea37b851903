"""Input gradient of a convolution: dx[n,c,h,w] = sum of dz[n,oc,(h+pt-i)/sh,(w+pl-j)/sw] * w[oc,c,i,j].

The sum runs over oc and the taps i, j that divide. Lanes are input channels: every element of dz is broadcast and
meets vectors of w_dx, the copy of the weights with input channels in lanes. Each pixel of dx gathers its taps, so it is
written once, at the end of one chain.

Stride 1: a correlation with mirrored taps. Otherwise the columns of dx fall into sw phases, (w + pl) modulo sw, each a
correlation of its own with every sw-th column tap; the phase of a row, (h + pt) modulo sh, is tracked at run time.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.conv.conv2d_body import NOTES, Reduction, Taps, accumulate, alloc_accumulators, free_accumulators
from asmgen.plan.specs import Conv2dBackwardInput, dtype_tag
from asmgen.tile.common.count_text import advance
from asmgen.tile.conv.conv2d_body import RegisterTile
from asmgen.tile.conv.conv2d_dx import BackwardInputTile, Phase, choose_tile


def emit(spec: Conv2dBackwardInput, isa: Isa, tile: BackwardInputTile | None = None) -> Listing:
    """The kernel of one shape: rdi dz, rsi w_dx, rdx dx (overwritten, halo untouched), slice of samples."""
    return _Kernel(spec, isa, tile or choose_tile(spec, isa)).emit()


class _Kernel:
    """Registers and loops of one kernel. The pointers advance and rewind by immediates as the loops go."""

    def __init__(self, spec: Conv2dBackwardInput, isa: Isa, tile: BackwardInputTile) -> None:
        self.spec, self.tile, self.conv = spec, tile, spec.conv
        self.dz_layout, self.dx_layout, self.weights = spec.dz, spec.dx, spec.conv.weights.input_gradient()
        self.asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
        next_rows = range(1, 1 + tile.prefetches)
        self.reduction = Reduction(self.dz_layout, self.weights, tile.unroll_rows, tile.channels, next_rows)

    def emit(self) -> Listing:
        asm, dz, dx, conv = self.asm, self.dz_layout, self.dx_layout, self.conv
        with asm:
            self._take_registers()
            with asm.loop("n", "end - begin", self.n_samples):
                if self.row_phases_left is not None:
                    x86.MOV(self.row_phases_left, conv.sh - conv.pt % conv.sh)
                with asm.loop("h", dx.h, on_stack=True):
                    self._row()
                end_row, end_tap = divmod(conv.pt + dx.h, conv.sh)
                asm.move(self.dz, dz.sample_bytes - (end_row - conv.pt // conv.sh) * dz.row_bytes, "dz: next sample")
                asm.move(self.w, (conv.pt % conv.sh - end_tap) * self.weights.row_bytes, "w: taps of row 0")
                asm.move(self.dx, dx.sample_bytes - dx.h * dx.row_bytes, "dx: next sample")
        return asm.finish(self._facts())

    def _take_registers(self) -> None:
        asm, conv = self.asm, self.conv
        self.dz, self.w, self.dx = asm.argument(0, "dz"), asm.argument(1, "w_dx"), asm.argument(2, "dx")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.row_taps = asm.stack_slot("row taps") if conv.sh > 1 else None
        self.row_phases_left = asm.stack_slot("row phases left") if conv.sh > 1 else None
        offset = asm.gp.alloc("offset of the slice")
        asm.comment("the slice's first sample; row 0 of dx meets row pt / sh of dz under row tap pt % sh")
        x86.SUB(end, begin)
        self.n_samples = end
        base, first_tap = divmod(conv.pt, conv.sh)
        for pointer, layout, first in (
            (self.dz, self.dz_layout, self.dz_layout.offset_bytes(h=base)),
            (self.dx, self.dx_layout, self.dx_layout.offset_bytes()),
        ):
            x86.IMUL(offset, begin, layout.sample_bytes)
            x86.ADD(pointer, offset)
            asm.move(pointer, first, f"{asm.name_of(pointer)}: to the first pixel")
        asm.move(self.w, first_tap * self.weights.row_bytes, f"w: tap row {first_tap}")
        asm.gp.free(offset, begin)

    def _row(self) -> None:
        """One row of dx: all groups of input channels."""
        dx, n_blocks = self.dx_layout, self.weights.n_oc_blocks
        self._count_row_taps()
        for group in self.tile.groups:
            with self.asm.loop("c", group.count, on_stack=True):
                for phase, runs in group.phases:
                    self._phase(phase, [(run.tile, run.count) for run in runs])
                self.asm.move(
                    self.w,
                    group.vectors * self.weights.oc_block_bytes,
                    f"w: {advance(group.vectors, 'block')} of channels",
                )
                self.asm.move(
                    self.dx, group.vectors * dx.plane_bytes, f"dx: {advance(group.vectors, 'block')} of channels"
                )
        self.asm.move(self.w, -n_blocks * self.weights.oc_block_bytes, "w: back to the first block of channels")
        self.asm.move(self.dx, dx.row_bytes - n_blocks * dx.plane_bytes, "dx: next row + halo, first block of channels")
        self._next_row()

    def _count_row_taps(self) -> None:
        """Row taps i0, i0 + sh, ... < kh of this row, where i0 = sh - row_phases_left."""
        conv = self.conv
        if self.row_taps is None:
            return
        self.asm.comment("row taps that divide: first, first + sh, ... below kh")
        fewest, more = divmod(self.weights.kh, conv.sh)
        x86.MOV(self.row_taps, fewest)
        if more:
            counted = self.asm.label("row_taps_counted")
            x86.CMP(self.row_phases_left, conv.sh - more)
            x86.JLE(counted)
            x86.MOV(self.row_taps, fewest + 1)
            self.asm.place(counted)

    def _next_row(self) -> None:
        """dx's next row starts at the next row tap, or, after sh rows, at the first one and dz's next row."""
        conv, asm = self.conv, self.asm
        if self.row_phases_left is None:
            asm.move(self.dz, self.dz_layout.row_bytes, "dz: next row + halo")
            return
        same_row = asm.label("same_row_of_dz")
        asm.move(self.w, self.weights.row_bytes, "w: next tap row")
        x86.SUB(self.row_phases_left, 1)
        x86.JNZ(same_row)
        x86.MOV(self.row_phases_left, conv.sh)
        asm.move(self.w, -conv.sh * self.weights.row_bytes, "w: back to tap row 0")
        asm.move(self.dz, self.dz_layout.row_bytes, "dz: next row + halo")
        asm.place(same_row)

    def _phase(self, phase: Phase, runs: list[tuple[RegisterTile, int]]) -> None:
        """The columns of one phase in one row, for one group of input channels."""
        asm, conv = self.asm, self.conv
        if conv.sw > 1:
            asm.comment(f"columns {phase.first}, {phase.first + conv.sw}, ... of dx")
        taps = Taps(self.weights.kh if conv.sh == 1 else None, -1, conv.sh, 0, 1, phase.taps)
        for tile, count in runs:
            with asm.loop("w", count, on_stack=True):
                self._tile(tile, taps, phase.first)
                asm.move(self.dz, tile.cols * self.dz_layout.pixel_bytes, f"dz: {advance(tile.cols, 'pixel')}")
                asm.move(
                    self.dx,
                    tile.cols * conv.sw * self.dx_layout.pixel_bytes,
                    f"dx: {advance(tile.cols * conv.sw, 'pixel')}",
                )
        asm.move(self.dz, -phase.count * self.dz_layout.pixel_bytes, "dz: back to the first column")
        asm.move(self.dx, -phase.count * conv.sw * self.dx_layout.pixel_bytes, "dx: back to the first column")

    def _tile(self, tile: RegisterTile, taps: Taps, first_column: int) -> None:
        asm, dx = self.asm, self.dx_layout
        asm.comment(f"tile: {tile}")
        acc = alloc_accumulators(asm, tile)
        registers: list[Any] = [register for pixel in acc[0] for register in pixel]
        for register in registers:
            asm.v.zero(register)
        if taps.cols:
            accumulate(asm, self.reduction, taps, tile, acc, self.dz, self.w, self.row_taps)
        asm.comment("store")
        for q, pixel in enumerate(acc[0]):
            for g, register in enumerate(pixel):
                column = first_column + q * self.conv.sw
                asm.v.store([self.dx + g * dx.plane_bytes + column * dx.pixel_bytes], register)
        asm.v.release_scratch()
        free_accumulators(asm, acc)

    def _facts(self) -> Facts:
        spec, conv, dz, dx, w = self.spec, self.conv, self.dz_layout, self.dx_layout, self.weights
        ctype = dtype_tag(dx.dtype)
        row, col = (
            f"({o}+{pad}-{tap}){f'/{stride}' if stride > 1 else ''}"
            for o, pad, tap, stride in (("h", conv.pt, "i", conv.sh), ("w", conv.pl, "j", conv.sw))
        )
        w_text = f"[{w.n_oc_blocks}][{w.c}][{w.kh}][{w.kw}][{w.block}]"
        which = "" if (conv.sh, conv.sw) == (1, 1) else ", where both divide"
        return Facts(
            title=f"{spec.text}  {dz.n} x c{dz.c} h{dz.h} w{dz.w} -> c{dx.c} h{dx.h} w{dx.w}",
            source="asmgen/kernels/conv/conv2d_dx.py",
            formula=(
                f"dx[n,c,h,w] = sum_oc,i,j dz[n,oc,{row},{col}] * w[oc,c,i,j]"
                f"    i < {w.kh}, j < {w.kw}, oc < {w.c}{which}",
            ),
            arguments=(
                Argument("rdi", "dz", ctype, str(dz), "in", "halo is 0"),
                Argument("rsi", "w_dx", ctype, w_text, "in", "by conv2d_pack_dx"),
                Argument("rdx", "dx", ctype, str(dx), "out", "overwritten but for the halo"),
            ),
            slice_unit=f"samples, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=dz.size_bytes + w.bias_offset_bytes,
            bytes_written=dx.n * dx.n_c_blocks * dx.h * dx.w * dx.pixel_bytes,
            tile=str(self.tile),
            notes=NOTES,
        )
