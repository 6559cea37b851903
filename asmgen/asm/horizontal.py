"""Horizontal sums: four accumulators become four neighbouring elements.

A dot product whose lanes run along the sum leaves one partial sum per lane. Four of them are transposed and added
together, which costs two shuffles an accumulator instead of the seven or so of four separate reductions. The tree is
fixed, so the same accumulators always give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peachpy.x86_64 as x86

if TYPE_CHECKING:
    from asmgen.asm.assembler import Assembler


def sum_four(asm: Assembler, acc: list[Any], spare: Any, *, notes: bool = True) -> list[Any]:
    """[sum of acc[0]'s lanes, ..., sum of acc[3]'s lanes], as consecutive elements of the registers returned.

    float32: one xmm; float64: one ymm, or two xmm where vectors are 16 bytes. The registers returned are views of
    acc[0] (and acc[2]). Overwrites acc and spare. notes: whether to write lane contents beside the code.
    """
    if asm.element_bytes == 4:
        _merge(asm, "PS", acc[0], acc[1], spare)
        if notes:
            asm.note("per 128 bits: acc 0, acc 1, acc 0, acc 1")
        _merge(asm, "PS", acc[2], acc[3], spare)
        _merge(asm, "PD", acc[0], acc[2], spare)
        if notes:
            asm.note("per 128 bits: acc 0, 1, 2, 3")
        return [_fold(asm, acc[0], spare, to_bytes=16)]
    _merge(asm, "PD", acc[0], acc[1], spare)
    if notes:
        asm.note("per 128 bits: acc 0, 1")
    _merge(asm, "PD", acc[2], acc[3], spare)
    if asm.isa.vector_bytes == 16:
        return [acc[0], acc[2]]
    low = _fold(asm, acc[0], spare, to_bytes=32)
    high = _fold(asm, acc[2], spare, to_bytes=32)
    _halves(asm, spare.as_ymm, low, high, upper=False)
    _halves(asm, low, low, high, upper=True)
    asm.v.add(low, low, spare.as_ymm)
    if notes:
        asm.note("acc 0, 1, 2, 3")
    return [low]


def _merge(asm: Assembler, granule: str, a: Any, b: Any, spare: Any) -> None:
    """a = unpack_low(a, b) + unpack_high(a, b), in granules of 32 (PS) or 64 (PD) bits."""
    asm.v.unpack(spare, a, b, granule, high=False)
    asm.v.unpack(a, a, b, granule, high=True)
    asm.v.add(a, a, spare)


def _fold(asm: Assembler, register: Any, spare: Any, to_bytes: int) -> Any:
    """Add upper halves onto lower ones until `to_bytes` are left; the view of what is left."""
    width = asm.isa.vector_bytes
    if width == 64 and to_bytes < 64:
        x86.VEXTRACTF64X4(spare.as_ymm, register, 1)
        register = register.as_ymm
        asm.v.add(register, register, spare.as_ymm)
        width = 32
    if width == 32 and to_bytes < 32:
        extract = x86.VEXTRACTF32X4 if asm.isa.has_mask else x86.VEXTRACTF128
        extract(spare.as_xmm, register.as_ymm, 1)
        register = register.as_xmm
        asm.v.add(register, register, spare.as_xmm)
    return register


def _halves(asm: Assembler, dst: Any, a: Any, b: Any, *, upper: bool) -> None:
    """dst (ymm) = the lower or upper 128 bits of a, then those of b."""
    if asm.isa.has_mask:
        x86.VSHUFF64X2(dst, a, b, 3 if upper else 0)
    else:
        x86.VPERM2F128(dst, a, b, 0x31 if upper else 0x20)
