"""Flatten: an image seen as a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Op, Shape, Site, bounded
from asmgen.ops.numeric import Array
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Flatten(Layer):
    """(c, h, w) becomes c * h * w features, in that order."""

    kind = "flatten"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        if len(inputs[0]) == 1:
            raise site.error(f"its input is already a vector of {inputs[0][0]}; remove this Flatten()")
        return (bounded(site, (math.prod(inputs[0]),)),)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0].reshape(len(inputs[0]), -1),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(Unflatten(rules.shape(rules.inputs[0])), rules.grads[0])]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Flatten()


@dataclass(frozen=True)
class Unflatten(Op):
    """A vector seen as an image: the gradient of Flatten."""

    kind = "unflatten"
    role = "gradient"

    shape: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.shape,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0].reshape(len(inputs[0]), *self.shape),)
