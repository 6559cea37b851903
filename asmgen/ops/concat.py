"""Concat: values side by side along channels, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Op, Shape, Site, Tracer, bounded, dims
from asmgen.ops.numeric import Array, np
from asmgen.ops.rules import Gradients
from asmgen.ops.sequence import layer_tuple, shape_behind

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, init=False)
class Concat(Layer):
    """Channels (or features) of two or more values, one behind the other. PyTorch: torch.cat([a, b], dim=1).

    In calls: `Concat()(a, b)`. In a list: `Concat([...], [...])`, the outputs of lists of layers on one input, with
    parameters `3.branches.0.0.weight`.
    """

    kind = "concat"
    arity = None

    branches: tuple[tuple[Layer, ...], ...] = ()

    def __init__(self, *branches: Sequence[Layer], name: str | None = None, where: str = "") -> None:
        for field, value in (("branches", branches), ("name", name), ("where", where)):
            object.__setattr__(self, field, value)
        self.__post_init__()

    def check(self) -> None:
        lists = tuple(layer_tuple(self, f"branch {number}", branch) for number, branch in enumerate(self.branches))
        object.__setattr__(self, "branches", lists)
        if len(lists) == 1:
            raise self.error("joins two or more lists of layers, not 1")

    def takes(self) -> int | None:
        return 1 if self.branches else None

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        if not self.branches:
            return super().trace(tracer, x, path)
        ends = [tracer.sequence(branch, x, f"{path}.branches.{at}") for at, branch in enumerate(self.branches)]
        return tracer.layer(Concat(where=self.where), ends, None)

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        if not self.branches:
            return super().trace_call(tracer, inputs)
        return self.trace(tracer, inputs[0], tracer.label(self))

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        parts = [shape_behind(branch, inputs[0]) for branch in self.branches] or list(inputs)
        for other in parts[1:]:
            if other[1:] != parts[0][1:] or len(other) != len(parts[0]):
                shapes = f"{dims(parts[0])} and {dims(other)}"
                raise site.error(f"joins {shapes}; make all but the channels equal: pool or pad one of them")
        return (bounded(site, (sum(part[0] for part in parts), *parts[0][1:])),)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (np.concatenate(inputs, axis=1),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        found: list[str | None] = []
        first = 0
        for value, wanted in zip(rules.inputs, rules.wants, strict=True):
            shape = rules.shape(value)
            found.append(rules.add(ConcatGradient(first, shape), rules.grads[0]) if wanted else None)
            first += shape[0]
        return found

    def torch(self, *inputs: Shape) -> nn.Module:
        from asmgen.ops.torch import BranchesModule, Cat, sequential

        if not self.branches:
            return Cat()
        return BranchesModule([sequential(branch, inputs[0]) for branch in self.branches])


@dataclass(frozen=True)
class ConcatGradient(Op):
    """dx = dy[first : first + c], the channels that an input gave. Input: dy."""

    kind = "concat_dx"
    role = "gradient"

    first: int
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0][:, self.first : self.first + self.x[0]],)
