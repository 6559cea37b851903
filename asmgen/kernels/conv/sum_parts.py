"""Adds the parts of a weight gradient that was summed over parts of the samples, in the order of the parts."""

from __future__ import annotations

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.specs import SumParts, dtype_tag
from asmgen.tile.common.count_text import counted


def emit(spec: SumParts, isa: Isa) -> Listing:
    """The listing of one kernel (arguments: parts, dw; slice: vectors)."""
    asm = Assembler(isa, spec.dtype, spec.symbol(isa.name))
    vector_bytes = isa.vector_bytes
    with asm:
        parts, dw = asm.argument(0, "parts"), asm.argument(1, "dw")
        begin, left = asm.argument(4, "begin"), asm.argument(5, "end / vectors left")
        asm.release_arguments()
        at = asm.gp.alloc("part")
        total = asm.vec.alloc("sum")
        x86.SUB(left, begin)
        x86.IMUL(begin, begin, vector_bytes)
        x86.ADD(parts, begin)
        x86.ADD(dw, begin)
        asm.gp.free(begin)
        with asm.loop("vector", "vectors of the slice", left):
            x86.MOV(at, parts)
            asm.v.load(total, [at])
            with asm.loop("part", spec.n_parts - 1):
                asm.move(at, spec.stride_bytes, "next part")
                asm.v.add(total, total, [at])
            asm.v.store([dw], total)
            asm.move(parts, vector_bytes, "parts: next vector")
            asm.move(dw, vector_bytes, "dw: next vector")
    return asm.finish(_facts(spec))


def _facts(spec: SumParts) -> Facts:
    ctype, part_bytes = dtype_tag(spec.dtype), spec.n_vectors * spec.block * spec.element_bytes
    layout = f"[{spec.n_vectors}][{spec.block}]"
    return Facts(
        title=f"{spec.text}  {spec.n_parts} parts of {counted(spec.n_vectors, 'vector')}",
        source="asmgen/kernels/conv/sum_parts.py",
        formula=(f"dw[i] = parts[0][i] + parts[1][i] + ... + parts[{spec.n_parts - 1}][i], in this order",),
        arguments=(
            Argument("rdi", "parts", ctype, f"[{spec.n_parts}]{layout}, {spec.stride_bytes} B apart", "in"),
            Argument("rsi", "dw", ctype, layout, "out", "overwritten"),
        ),
        slice_unit=f"vectors, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=spec.n_parts * part_bytes,
        bytes_written=part_bytes,
        tile="1 vector",
    )
