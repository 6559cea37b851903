"""Spec of the sum of two activations: a residual connection, and gradients that meet where a value is used twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from asmgen.plan.layout import NO_HALO, Activations, Image
from asmgen.plan.specs.base import KernelSpec, SliceKind, activations_tag, dtype_tag, halo_tag, require_same


@dataclass(frozen=True)
class Add(KernelSpec):
    """y = a + b over whole tensors of one shape, each with a halo of its own; y may be a or b (a += b). Overwritten.

    y's halo is not written; pad lanes stay zero. Rows may be flattened images.
    """

    a: Activations
    b: Activations
    y: Activations

    @property
    def op(self) -> str:
        return "add"

    def slice_units(self) -> int:
        return self.y.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = "".join(
            f"_{name}{halo_tag(t)}"
            for name, t in (("a", self.a), ("b", self.b), ("o", self.y))
            if isinstance(t, Image) and t.halo
        )
        shape = replace(self.y, halo=NO_HALO) if isinstance(self.y, Image) else self.y
        return f"{self.op}_{activations_tag(shape)}{halos}_{dtype_tag(self.y.dtype)}"

    def flops(self) -> int:
        values = self.y.c * self.y.h * self.y.w if isinstance(self.y, Image) else self.y.features
        return self.y.n * values

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """a, b -> y."""
        a, b = inputs
        return (a + b,)

    def check(self) -> None:
        super().check()
        require_same(self, a=self.a, b=self.b, y=self.y)
