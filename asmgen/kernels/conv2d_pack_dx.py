"""The weights of the input gradient: w_dx[c/V][oc][kh][kw][c%V] from w[oc/V][c][kh][kw][oc%V].

For every tap, V x V blocks of (input channel, output channel) are transposed in squares of one 16-byte vector: 4 x 4
float32 or 2 x 2 float64, whatever the ISA. Lanes of input channels that do not exist become 0.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.window import add
from asmgen.plan.specs import Conv2dPackInputGradient, dtype_tag

_SQUARE_BYTES = 16  # one row of a square


def emit(spec: Conv2dPackInputGradient, isa: Isa) -> Listing:
    """The kernel of one shape: rdi w, rsi w_dx (overwritten), slice of blocks of V input channels."""
    return _Kernel(spec, isa).emit()


class _Kernel:
    """Registers and loops of one kernel."""

    def __init__(self, spec: Conv2dPackInputGradient, isa: Isa) -> None:
        self.spec, self.w_layout, self.dx_layout = spec, spec.weights, spec.weights.input_gradient()
        self.asm = Assembler(isa, spec.weights.dtype, spec.symbol(isa.name))
        self.side = _SQUARE_BYTES // spec.weights.element_bytes
        self.n_full_blocks, self.c_tail = divmod(spec.weights.c, spec.weights.block)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            self.w, self.w_dx = asm.argument(0, "w"), asm.argument(1, "w_dx")
            begin, end = asm.argument(4, "begin"), asm.argument(5, "end")
            asm.release_arguments()
            done, whole = asm.label("done"), asm.label("whole_blocks")
            offset = asm.gp.alloc("offset of the slice")
            x86.CMP(begin, end)
            x86.JE(done)
            asm.comment("the slice's first block of input channels")
            x86.IMUL(offset, begin, self.w_layout.block * self.w_layout.channel_bytes)
            x86.ADD(self.w, offset)
            x86.IMUL(offset, begin, self.dx_layout.oc_block_bytes)
            x86.ADD(self.w_dx, offset)
            asm.gp.free(offset)
            left = asm.gp.alloc("whole blocks left")
            x86.MOV(left, end)
            x86.SUB(left, begin)
            if self.c_tail:
                x86.CMP(end, self.n_full_blocks + 1)
                x86.JNE(whole)
                x86.SUB(left, 1)
            asm.place(whole)
            asm.gp.free(begin)
            self.squares = [asm.vec.alloc(f"row {i}").as_xmm for i in range(self.side)]
            self.spare = [asm.vec.alloc(f"spare {i}").as_xmm for i in range(self.side)]
            if self.n_full_blocks:
                with asm.loop("c", "whole blocks in the slice", left):
                    self._block(self.w_layout.block)
            if self.c_tail:
                x86.CMP(end, self.n_full_blocks + 1)
                x86.JNE(done)
                asm.comment(f"the last block: {self.c_tail} of {self.w_layout.block} input channels")
                self._block(self.c_tail)
            asm.place(done)
        return asm.finish(self._facts())

    def _block(self, n_channels: int) -> None:
        """One block of input channels, of which n_channels exist: all output channels."""
        asm, w = self.asm, self.w_layout
        per_block = w.block // self.side
        n_groups, rest = divmod(w.oc, self.side)
        n_blocks, groups_of_last = divmod(n_groups, per_block)
        if n_blocks:
            with asm.loop("oc_block", n_blocks):
                with asm.loop("oc", per_block):
                    self._group(n_channels, self.side)
                add(self.w, w.oc_block_bytes - per_block * _SQUARE_BYTES)
        if groups_of_last:
            with asm.loop("oc", groups_of_last):
                self._group(n_channels, self.side)
        if rest:
            self._group(n_channels, rest)
        moved = n_blocks * w.oc_block_bytes + (groups_of_last + (rest > 0)) * _SQUARE_BYTES
        add(self.w, w.block * w.channel_bytes - moved)

    def _group(self, n_channels: int, n_outputs: int) -> None:
        """`side` output channels, of which n_outputs exist: all taps and the input channels of the block."""
        asm, w, dx = self.asm, self.w_layout, self.dx_layout
        n_taps = w.kh * w.kw
        with asm.loop("tap", n_taps):
            for first in range(0, w.block, self.side):
                self._square(first, min(self.side, n_channels - first), n_outputs)
            x86.ADD(self.w, w.tap_bytes)
            x86.ADD(self.w_dx, dx.tap_bytes)
        add(self.w, _SQUARE_BYTES - n_taps * w.tap_bytes)
        add(self.w_dx, n_outputs * dx.channel_bytes - n_taps * dx.tap_bytes)

    def _square(self, first: int, n_channels: int, n_outputs: int) -> None:
        """Input channels from `first` on x output channels, transposed: rows of w to rows of w_dx."""
        v, w, dx = self.asm.v, self.w_layout, self.dx_layout
        for row, register in enumerate(self.squares):
            if row < n_channels:
                v.load(register, [self.w + (first + row) * w.channel_bytes])
                self.asm.note(f"c {first + row}: {self.side} output channels")
            else:
                v.zero(register)
        rows = self._transposed() if n_channels > 0 else self.squares
        for row in range(n_outputs):
            v.store([self.w_dx + row * dx.channel_bytes + first * w.element_bytes], rows[row])

    def _transposed(self) -> list[Any]:
        """The registers that hold the columns of the square."""
        unpack, rows, spare = self.asm.v.unpack, self.squares, self.spare
        if self.side == 2:
            unpack(spare[0], rows[0], rows[1], "PD", high=False)
            unpack(spare[1], rows[0], rows[1], "PD", high=True)
            return spare
        unpack(spare[0], rows[0], rows[1], "PS", high=False)
        self.asm.note("00 10 01 11")
        unpack(spare[1], rows[2], rows[3], "PS", high=False)
        self.asm.note("20 30 21 31")
        unpack(spare[2], rows[0], rows[1], "PS", high=True)
        self.asm.note("02 12 03 13")
        unpack(spare[3], rows[2], rows[3], "PS", high=True)
        self.asm.note("22 32 23 33")
        for i, (low, high) in enumerate(((spare[0], spare[1]), (spare[2], spare[3]))):
            unpack(rows[2 * i], low, high, "PD", high=False)
            unpack(rows[2 * i + 1], low, high, "PD", high=True)
        return rows

    def _facts(self) -> Facts:
        w, dx = self.w_layout, self.dx_layout
        ctype = dtype_tag(w.dtype)
        dx_text = f"[{dx.n_oc_blocks}][{dx.c}][{dx.kh}][{dx.kw}][{dx.block}]"
        weights_bytes = w.oc * w.c * w.kh * w.kw * w.element_bytes
        return Facts(
            title=f"conv2d_pack_dx  oc{w.oc} c{w.c} {w.kh}x{w.kw}",
            source="asmgen/kernels/conv2d_pack_dx.py",
            formula=("w_dx[c/V][oc][kh][kw][c%V] = w[oc/V][c][kh][kw][oc%V]",),
            arguments=(
                Argument("rdi", "w", ctype, str(w), "in", "lanes are output channels"),
                Argument("rsi", "w_dx", ctype, dx_text, "out", "overwritten; pad lanes 0"),
            ),
            slice_unit=f"blocks of {w.block} input channels, 0..{self.spec.slice_units()}",
            flops=0,
            bytes_read=weights_bytes,
            bytes_written=dx.bias_offset_bytes,
            tile=f"{self.side} x {self.side} transposed in registers",
        )
