"""The other copy of a convolution's weights: lanes = output channels from lanes = input channels, and back.

For every tap, V x V blocks of (row channel, lane channel) are transposed in squares of one 16-byte vector: 4 x 4
float32 or 2 x 2 float64, whatever the ISA. Lanes of channels that do not exist become 0. In the code below, `c` are the
channels that become lanes and `oc` those that were.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.transpose import ROW_BYTES, Squares
from asmgen.plan.layout import ConvWeights
from asmgen.plan.specs import Conv2dPackBackwardInput, Conv2dPackForward, dtype_tag
from asmgen.tile.common.count_text import advance


def emit_input_gradient(spec: Conv2dPackBackwardInput, isa: Isa) -> Listing:
    """rdi w, rsi w_dx (overwritten), slice of blocks of V input channels."""
    facts = _facts(
        title=f"{spec.text}  oc{spec.weights.oc} c{spec.weights.c} {spec.weights.kh}x{spec.weights.kw}",
        formula=("target[c/V][oc][kh][kw][c%V] = w[oc/V][c][kh][kw][oc%V]",),
        lanes=("output", "input"),
        source=spec.weights,
    )
    return _Kernel(spec.symbol(isa.name), spec.weights, isa, bias=None).emit(facts)


def emit_forward(spec: Conv2dPackForward, isa: Isa) -> Listing:
    """rdi w, rsi w_fwd (overwritten, bias copied behind), slice of blocks of V output channels."""
    weights = spec.weights
    facts = _facts(
        title=f"{spec.text}  oc{weights.oc} c{weights.c} {weights.kh}x{weights.kw}",
        formula=("target[oc/V][c][kh][kw][oc%V] = w[c/V][oc][kh][kw][c%V]; bias copied behind it",),
        lanes=("input", "output"),
        source=weights.taps,
    )
    bias = weights.bias_offset_bytes, weights.by_output().bias_offset_bytes
    return _Kernel(spec.symbol(isa.name), weights.taps, isa, bias).emit(facts)


class _Kernel:
    """Registers and loops of one kernel. bias: offsets of the bias in w and in the target, where it is copied, too."""

    def __init__(self, symbol: str, source: ConvWeights, isa: Isa, bias: tuple[int, int] | None) -> None:
        self.w_layout, self.dx_layout, self.bias = source, source.input_gradient(), bias
        self.asm = Assembler(isa, source.dtype, symbol)
        self.side = ROW_BYTES // source.element_bytes
        self.n_full_blocks, self.c_tail = divmod(source.c, source.block)

    def emit(self, facts: Facts) -> Listing:
        asm = self.asm
        with asm:
            self.w, self.w_dx = asm.argument(0, "w"), asm.argument(1, "w_dx")
            begin, end = asm.argument(4, "begin"), asm.argument(5, "end")
            asm.release_arguments()
            done, whole = asm.label("done"), asm.label("whole_blocks")
            offset = asm.gp.alloc("offset of the slice")
            x86.CMP(begin, end)
            x86.JE(done)
            if self.bias:
                self._copy_bias(begin, end, *self.bias)
            asm.comment("the slice's first block of channels that become lanes")
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
                asm.note("the last block is not whole")
            asm.place(whole)
            asm.gp.free(begin)
            self.square = Squares(asm)
            if self.n_full_blocks:
                with asm.loop("c", "whole blocks in the slice", left):
                    self._block(self.w_layout.block)
            if self.c_tail:
                x86.CMP(end, self.n_full_blocks + 1)
                x86.JNE(done)
                asm.comment(f"the last block: {self.c_tail} of {self.w_layout.block} input channels")
                self._block(self.c_tail)
            asm.place(done)
        return asm.finish(facts)

    def _copy_bias(self, begin: Any, end: Any, source_bytes: int, target_bytes: int) -> None:
        """The slice's vectors of the bias."""
        asm, tap_bytes = self.asm, self.w_layout.tap_bytes
        asm.comment("the slice's bias")
        at, left, bias = asm.gp.alloc("offset of the bias"), asm.gp.alloc("vectors left"), asm.vec.alloc("bias")
        x86.IMUL(at, begin, tap_bytes)
        x86.MOV(left, end)
        x86.SUB(left, begin)
        with asm.loop("bias", "blocks in the slice", left):
            asm.v.load(bias, [self.w + at * 1 + source_bytes])
            asm.v.store([self.w_dx + at * 1 + target_bytes], bias)
            asm.move(at, tap_bytes, "bias: next vector")
        asm.gp.free(at, left)
        asm.vec.free(bias)

    def _block(self, n_channels: int) -> None:
        """One block of input channels, of which n_channels exist: all output channels."""
        asm, w = self.asm, self.w_layout
        per_block = w.block // self.side
        n_rows, rest = divmod(w.oc, self.side)
        n_blocks, rows_of_last = divmod(n_rows, per_block)
        if n_blocks:
            with asm.loop("oc_block", n_blocks):
                with asm.loop("oc", per_block):
                    self._row(n_channels, self.side)
                asm.move(self.w, w.oc_block_bytes - per_block * ROW_BYTES, "w: next block of output channels")
        if rows_of_last:
            with asm.loop("oc", rows_of_last):
                self._row(n_channels, self.side)
        if rest:
            self._row(n_channels, rest)
        moved = n_blocks * w.oc_block_bytes + (rows_of_last + (rest > 0)) * ROW_BYTES
        asm.move(self.w, w.block * w.channel_bytes - moved, f"w: {w.block} channels on, first output channel")

    def _row(self, n_channels: int, n_outputs: int) -> None:
        """`side` output channels, of which n_outputs exist: all taps and the input channels of the block."""
        asm, w, dx = self.asm, self.w_layout, self.dx_layout
        n_taps = w.kh * w.kw
        with asm.loop("tap", n_taps):
            for first in range(0, w.block, self.side):
                self._square(first, min(self.side, n_channels - first), n_outputs)
            asm.move(self.w, w.tap_bytes, "w: next tap")
            asm.move(self.w_dx, dx.tap_bytes, "w_dx: next tap")
        asm.move(self.w, ROW_BYTES - n_taps * w.tap_bytes, "w: next row of lanes, tap 0")
        asm.move(
            self.w_dx,
            n_outputs * dx.channel_bytes - n_taps * dx.tap_bytes,
            f"w_dx: {advance(n_outputs, 'channel')}, tap 0",
        )

    def _square(self, first: int, n_channels: int, n_outputs: int) -> None:
        """Input channels from `first` on x output channels, transposed: rows of w to rows of w_dx."""
        v, w, dx = self.asm.v, self.w_layout, self.dx_layout
        for row, register in enumerate(self.square.rows):
            if row < n_channels:
                v.load(register, [self.w + (first + row) * w.channel_bytes])
                self.asm.note(f"c {first + row}: {self.side} output channels")
            else:
                v.zero(register)
        rows = self.square.transposed() if n_channels > 0 else self.square.rows
        for row in range(n_outputs):
            v.store([self.w_dx + row * dx.channel_bytes + first * w.element_bytes], rows[row])


def _facts(title: str, formula: tuple[str, ...], lanes: tuple[str, str], source: ConvWeights) -> Facts:
    target = source.input_gradient()
    ctype = dtype_tag(source.dtype)
    before, after = (f"[{w.n_oc_blocks}][{w.c}][{w.kh}][{w.kw}][{w.block}]" for w in (source, target))
    side = ROW_BYTES // source.element_bytes
    return Facts(
        title=title,
        source="asmgen/kernels/conv/conv2d_pack.py",
        formula=formula,
        arguments=(
            Argument("rdi", "w", ctype, before, "in", f"lanes are {lanes[0]} channels"),
            Argument("rsi", "target", ctype, after, "out", f"lanes are {lanes[1]} channels; pad lanes 0"),
        ),
        slice_unit=f"blocks of {source.block} {lanes[1]} channels, 0..{target.n_oc_blocks}",
        flops=0,
        bytes_read=source.oc * source.c * source.kh * source.kw * source.element_bytes,
        bytes_written=target.bias_offset_bytes,
        tile=f"{side} x {side} transposed in registers",
    )
