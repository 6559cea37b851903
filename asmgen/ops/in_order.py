"""InOrder: the values of an image as a vector that lies in memory in its own order, c, h, w, and its gradient.

The function is Flatten's. A Flatten is a view, whose features lie where the image has them; this is a copy. Passes put
it where a flattened image meets other vectors (asmgen/graph/simplify.py); model files do not have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asmgen.ops.base import Op, Shape, Site
from asmgen.ops.numeric import Array
from asmgen.ops.rules import Gradients


@dataclass(frozen=True)
class InOrder(Op):
    """(c, h, w) becomes c * h * w features, in that order."""

    kind = "in_order"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return ((math.prod(inputs[0]),),)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0].reshape(len(inputs[0]), -1),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(InOrderGradient(rules.shape(rules.inputs[0])), rules.grads[0])]


@dataclass(frozen=True)
class InOrderGradient(Op):
    """dx[c, h, w] = dy[(c * height + h) * width + w]. Input: dy."""

    kind = "in_order_dx"
    role = "gradient"

    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0].reshape(len(inputs[0]), *self.x),)
