"""Two throw-away activations, made of entries in the tables alone.

softsign: y = x / (1 + |x|), f' = (1 - |y|)^2, fused where a kernel fuses. hill: y = x^2 + 1, f' = 2 x seen from x,
which leaves no padding zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from asmgen.asm.assembler import Assembler
from asmgen.cuda.common import activations as cuda
from asmgen.harness import activation_bounds as harness
from asmgen.kernels.common import activations as cpu
from asmgen.ops.base import Elementwise
from asmgen.plan.specs import TRAITS, Activation, Traits
from asmgen.reference import activations as reference

SOFTSIGN, HILL = "softsign", "hill"


def _magnitude(asm: Assembler) -> Any:
    return asm.integer_constant("magnitude", (1 << 8 * asm.element_bytes - 1) - 1)


def _softsign(asm: Assembler, act: Activation, in_loop: bool) -> cpu.Forward:
    value, v = asm.vec.alloc("x") if in_loop else None, asm.v

    def apply(y: Any, x: Any) -> None:
        if in_loop:
            v.load(value, x)
            x = value
        v.load(y, _magnitude(asm))
        v.and_(y, y, x)
        v.add(y, y, asm.vector_constant("one", 1.0))
        v.div(x, x, y)
        v.mov(y, x)

    return apply


def _softsign_backward(asm: Assembler, act: Activation) -> cpu.Backward:
    value, v = asm.vec.alloc("y"), asm.v

    def apply(dx: Any, dy: Any, y: Any) -> None:
        v.load(value, y)
        v.and_(value, value, _magnitude(asm))
        v.load(dx, asm.vector_constant("one", 1.0))
        v.sub(dx, dx, value)
        v.mul(dx, dx, dx)
        v.mul(dx, dx, dy)

    return apply


def _hill(asm: Assembler, act: Activation, in_loop: bool) -> cpu.Forward:
    def apply(y: Any, x: Any) -> None:
        asm.v.load(y, x)
        asm.v.mul(y, y, y)
        asm.v.add(y, y, asm.vector_constant("one", 1.0))

    return apply


def _hill_backward(asm: Assembler, act: Activation) -> cpu.Backward:
    def apply(dx: Any, dy: Any, x: Any) -> None:
        asm.v.load(dx, x)
        asm.v.add(dx, dx, dx)
        asm.v.mul(dx, dx, dy)

    return apply


@dataclass(frozen=True)
class Softsign(Elementwise):
    """y = x / (1 + |x|)."""

    kind = symbol = SOFTSIGN
    tag = "_softsign"
    maps_zero_to_zero = is_monotone = is_fusible = True
    slope_from = "y"

    def f(self, x: Any) -> Any:
        return x / (1 + np.abs(x))

    def slope(self, saved: Any) -> Any:
        return (1 - np.abs(saved)) ** 2


@dataclass(frozen=True)
class Hill(Elementwise):
    """y = x^2 + 1."""

    kind = symbol = HILL
    tag = "_hill"
    maps_zero_to_zero = is_monotone = False
    slope_from = "x"

    def f(self, x: Any) -> Any:
        return x * x + 1

    def slope(self, saved: Any) -> Any:
        return 2 * saved


def register(patch: pytest.MonkeyPatch) -> None:
    """An entry a table and kind."""
    entries: list[tuple[dict[str, Any], Any, Any]] = [
        (
            TRAITS,
            Traits("y", True, True, True, False, "_softsign"),
            Traits("x", False, False, False, False, "_hill"),
        ),
        (
            reference.FUNCTIONS,
            reference.Functions(lambda act, z: z / (1 + np.abs(z)), lambda act, y: (1 - np.abs(y)) ** 2),
            reference.Functions(lambda act, z: z * z + 1, lambda act, x: 2 * x),
        ),
        (
            cpu.CODES,
            cpu.Code("x / (1 + |x|)", "softsign({})", "dy * (1 - |y|)^2", _softsign, _softsign_backward),
            cpu.Code("x^2 + 1", "hill({})", "dy * 2 * x", _hill, _hill_backward, unroll=2),
        ),
        (
            cuda.CODES,
            cuda.Code(
                "x / (1 + |x|)",
                "dy * (1 - |y|)^2",
                "{x} / (1 + ({x} < 0 ? -{x} : {x}))",
                "{dy} * (1 - ({saved} < 0 ? -{saved} : {saved})) * (1 - ({saved} < 0 ? -{saved} : {saved}))",
            ),
            cuda.Code("x^2 + 1", "dy * 2 * x", "{x} * {x} + 1", "{dy} * 2 * {saved}"),
        ),
        (
            harness.BOUNDS,
            harness.Bounds(lambda draw, y: 4 * draw.eps * np.abs(y), lambda act, y: (1 + np.abs(y)) ** 2),
            harness.Bounds(lambda draw, y: 2 * draw.eps * np.abs(y), lambda act, x: 2 * np.abs(x)),
        ),
    ]
    for table, softsign, hill in entries:
        patch.setitem(table, SOFTSIGN, softsign)
        patch.setitem(table, HILL, hill)
