"""Spec of dropout, which is its own gradient: both multiply by the mask that they draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asmgen.ops.dropout import Dropout as DropoutOp
from asmgen.plan.layout import Activations, Image
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    activations_tag,
    dtype_tag,
    halo_tag,
    number_tag,
    require,
    require_same,
)


@dataclass(frozen=True)
class Dropout(KernelSpec):
    """y = x / (1 - p) or 0 (asmgen/ops/dropout.py). number: of the layer. Seed and step are in the loss block.

    y may be x. Pad lanes stay zero, y's halo is not written.
    """

    x: Activations
    y: Activations
    p: float
    number: int

    @property
    def op(self) -> str:
        return "dropout"

    @property
    def layer(self) -> DropoutOp:
        """The layer that it is of."""
        return DropoutOp(self.p, number=self.number, where=self.op)

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if isinstance(self.y, Image) and self.y.halo else ""
        tail = f"r{number_tag(self.p)}i{self.number}_{dtype_tag(self.x.dtype)}"
        return f"{self.op}_{activations_tag(self.x)}{o}_{tail}"

    def flops(self) -> int:
        return self.x.size_bytes // self.x.element_bytes

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x, (seed, step) -> y."""
        x, random = inputs
        return self.layer.forward(x, random)

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, y=self.y)
        require(0 <= self.p < 1 and self.number >= 0, self, "p must lie in [0, 1)")
        flattened = [t for t in (self.x, self.y) if not isinstance(t, Image) and t.source is not None]
        require(not flattened, self, "rows must not be the view of an image")
