"""Reductions over the lanes of one vector whose result stands in every lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import peachpy.x86_64 as x86

if TYPE_CHECKING:
    from asmgen.asm.assembler import Assembler

_SWAP_HALVES, _SWAP_NEIGHBOURS = 0b01_00_11_10, 0b10_11_00_01  # of four parts, two bits each


def reduce_lanes(
    asm: Assembler, operation: Callable[[Any, Any, Any], None], register: Any, spare: Any, name: str
) -> None:
    """Every lane of register = all its lanes combined; `operation` is a commutative one of asm.v (add, max, min).

    Swaps halves, then quarters..., each time combining a vector with its own permutation: log2(V) steps.
    """
    steps: list[Callable[[], None]] = []
    if asm.isa.vector_bytes == 64:
        steps.append(lambda: x86.VSHUFF64X2(spare, register, register, _SWAP_HALVES))
        steps.append(lambda: x86.VSHUFF64X2(spare, register, register, _SWAP_NEIGHBOURS))
    elif asm.isa.vector_bytes == 32:
        steps.append(lambda: x86.VPERM2F128(spare, register, register, 1))
    if asm.element_bytes == 4:
        steps.append(lambda: asm.v.shuffle(spare, register, register, _SWAP_HALVES))
        steps.append(lambda: asm.v.shuffle(spare, register, register, _SWAP_NEIGHBOURS))
    else:
        steps.append(lambda: asm.v.shuffle(spare, register, register, 0b01010101))
    for step in steps:
        step()
        operation(register, register, spare)
    asm.note(f"{name}, in every lane")
