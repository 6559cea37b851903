"""The activation at the end of a convolution or a dense layer."""

from __future__ import annotations

from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.plan.specs import Activation


def activated(asm: Assembler, act: Activation, value: Any, spare: Any) -> Any:
    """The register that holds f(value); a NaN stays one (max and min give their last operand then)."""
    if not act:
        return value
    if act.kind == "relu":
        asm.v.zero(spare)
    else:
        asm.v.mul(spare, value, asm.vector_constant("alpha", act.alpha))
    larger = act.kind == "relu" or act.alpha <= 1  # which of z and alpha z is f(z)
    (asm.v.max if larger else asm.v.min)(spare, spare, value)
    return spare
