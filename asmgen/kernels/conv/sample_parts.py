"""Weight gradients in parts: the loop over the parts of the samples in a slice, around the kernel of one part."""

from __future__ import annotations

from dataclasses import replace

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.listing import Facts
from asmgen.plan.specs import GradientInParts, part_stride_bytes

_TENSORS = (x86.rdi, x86.rsi, x86.rdx, x86.rcx)
_BEGIN, _END = x86.r8, x86.r9


class SampleParts:
    """Unit u of the slice is block u % n_blocks of part u // n_blocks. Of one part, nothing is emitted.

    Between `open` and `close` the argument registers hold the tensors at the part's first sample, its sums in dw,
    and its blocks that are in the slice.

    sample_bytes: of the tensors that are read, in the order of the arguments.
    """

    def __init__(self, asm: Assembler, spec: GradientInParts, sample_bytes: tuple[int, ...]) -> None:
        self._asm, self._spec = asm, spec
        self._n_blocks = spec.conv.weights.n_oc_blocks
        n = spec.conv.x.n // spec.sample_parts
        self._part_bytes = (*(n * size for size in sample_bytes), part_stride_bytes(spec.dw))

    def open(self) -> None:
        """Before the kernel takes its arguments."""
        if self._spec.sample_parts == 1:
            return
        asm = self._asm
        asm.comment("the slice, part by part of the samples")
        self._next, end = asm.stack_slot("next unit"), asm.stack_slot("end of the slice")
        tensors = [
            (register, asm.stack_slot(f"argument {register}"), step)
            for register, step in zip(_TENSORS, self._part_bytes, strict=False)
        ]
        x86.MOV(self._next, _BEGIN)
        x86.MOV(end, _END)
        for register, slot, _ in tensors:
            x86.MOV(slot, register)
        self._again, self._done = asm.label("part"), asm.label("no_part_left")
        asm.place(self._again)
        x86.MOV(_BEGIN, self._next)
        x86.MOV(_END, end)
        x86.SUB(_END, _BEGIN)
        asm.note("units left")
        x86.JBE(self._done)
        self._split()
        step_bytes, part = x86.r11, x86.rax
        for register, slot, step in tensors:
            if step < 1 << 31:
                x86.IMUL(step_bytes, part, step)
            else:  # more than an immediate
                x86.MOV(step_bytes, step)
                x86.IMUL(step_bytes, part)
            x86.MOV(register, slot)
            x86.ADD(register, step_bytes)

    def _split(self) -> None:
        """rax = the part of unit `begin`; [begin, end) = its blocks in the slice; `next` moves behind them."""
        count, fits = x86.r10, self._asm.label("blocks_fit")
        x86.MOV(x86.rax, _BEGIN)
        x86.XOR(x86.edx, x86.edx)
        x86.MOV(count, self._n_blocks)
        x86.DIV(count)
        self._asm.note("part, block")
        x86.MOV(_BEGIN, x86.rdx)
        x86.ADD(_END, _BEGIN)
        x86.CMP(_END, count)
        x86.JBE(fits)
        x86.MOV(_END, count)
        self._asm.place(fits)
        x86.MOV(count, _END)
        x86.SUB(count, _BEGIN)
        x86.ADD(self._next, count)

    def close(self) -> None:
        """Behind the kernel of a part, also where it was empty."""
        if self._spec.sample_parts > 1:
            x86.JMP(self._again)
            self._asm.place(self._done)

    def facts(self, facts: Facts) -> Facts:
        """Those of the kernel of one part, for all of them."""
        spec = self._spec
        if spec.sample_parts == 1:
            return facts
        n = spec.conv.x.n
        arguments = tuple(
            replace(argument, layout=f"[{spec.sample_parts}] x {argument.layout}") for argument in facts.arguments
        )
        return replace(
            facts,
            arguments=arguments,
            slice_unit=f"blocks of {spec.conv.weights.block} output channels, part by part, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=spec.sample_parts * facts.bytes_read,
            bytes_written=spec.sample_parts * facts.bytes_written,
            notes=(f"dw in parts: one for each {n // spec.sample_parts} of the {n} samples", *facts.notes),
        )
