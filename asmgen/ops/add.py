"""Add: the sum of values, and Residual, the list of layers around which a shortcut leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Shape, Site, Tracer, dims
from asmgen.ops.numeric import Array
from asmgen.ops.rules import Gradients
from asmgen.ops.sequence import layer_tuple, shape_behind

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Add(Layer):
    """y = a + b + ..., of two or more values of one shape: `Add()(a, b)`. PyTorch: a + b."""

    kind = "add"
    arity = None

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        for other in inputs[1:]:
            if other != inputs[0]:
                shapes = f"{dims(inputs[0])} and {dims(other)}"
                raise site.error(f"adds {shapes}; make them equal, with a Conv2D(..., 1) or a pool on one of them")
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        total = inputs[0]
        for more in inputs[1:]:
            total = total + more
        return (total,)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.grads[0]] * len(rules.inputs)

    def torch(self, *inputs: Shape) -> nn.Module:
        from asmgen.ops.torch import Sum

        return Sum()


@dataclass(frozen=True)
class Residual(Layer):
    """y = body(x) + shortcut(x), both lists of layers; without a shortcut, + x.

    Parameters are those of a module with two nn.Sequential: `3.body.0.weight`, `3.shortcut.0.weight`.
    """

    kind = "residual"

    body: Sequence[Layer]
    shortcut: Sequence[Layer] = ()

    def check(self) -> None:
        object.__setattr__(self, "body", layer_tuple(self, "body", self.body))
        object.__setattr__(self, "shortcut", layer_tuple(self, "shortcut", self.shortcut))
        if not self.body:
            raise self.error("body has no layers, so y = 2 x; list at least one")

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        ends = tracer.sequence(self.body, x, f"{path}.body"), tracer.sequence(self.shortcut, x, f"{path}.shortcut")
        body, shortcut = (tracer.shape(end) for end in ends)
        if body != shortcut:
            raise self.error(_mismatch(body, shortcut, bool(self.shortcut)))
        return tracer.layer(Add(where=self.where), ends, None)

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        return self.trace(tracer, inputs[0], tracer.label(self))

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        body, shortcut = shape_behind(self.body, inputs[0]), shape_behind(self.shortcut, inputs[0])
        if body != shortcut:
            raise self.error(_mismatch(body, shortcut, bool(self.shortcut)))
        return (body,)

    def torch(self, *inputs: Shape) -> nn.Module:
        from asmgen.ops.torch import ResidualModule, sequential

        return ResidualModule(sequential(self.body, inputs[0]), sequential(self.shortcut, inputs[0]))


def _mismatch(body: Shape, shortcut: Shape, has_shortcut: bool) -> str:
    """What is wrong where a residual's two ways end in different shapes, and what to do."""
    if has_shortcut:
        return f"its body ends in {dims(body)}, its shortcut in {dims(shortcut)}; make them equal"
    advice = f"give it a shortcut that does, such as [Conv2D({body[0]}, 1)]" if len(body) == 3 else "give it a shortcut"
    return f"its body turns {dims(shortcut)} into {dims(body)}, and it has no shortcut that does so; {advice}"
