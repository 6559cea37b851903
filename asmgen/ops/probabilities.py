"""The end of inference: probabilities of what the loss works on."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.ops.base import Layer, Op, Shape, Site
from asmgen.ops.numeric import Array

PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Probabilities(Op):
    """Of a sample's classes: the softmax of its outputs, or the sigmoid of each."""

    kind = PROBABILITIES

    of: Layer

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs

    def forward(self, *inputs: Array) -> tuple[Array]:
        (y,) = self.of.forward(*inputs)
        return (y,)
