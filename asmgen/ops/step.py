"""An optimizer's step on one parameter, as a node of the graph."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.ops.base import Op, Shape, Site
from asmgen.ops.numeric import Array
from asmgen.ops.optimizers import Optimizer


@dataclass(frozen=True)
class Step(Op):
    """The new parameter and the new states. Inputs: the parameter, its gradient, the hyper block, the states."""

    kind = "step"
    role = "parameter"

    optimizer: Optimizer

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[0],) * (1 + len(self.optimizer.states))

    def forward(self, *inputs: Array) -> tuple[Array, ...]:
        w, gradient, hyper, *states = inputs
        return self.optimizer.step(w, gradient, hyper, *states)


@dataclass(frozen=True)
class Accumulate(Op):
    """The sum of several contributions to one gradient, in this order."""

    kind = "sum"
    role = "gradient"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        total = inputs[0]
        for more in inputs[1:]:
            total = total + more
        return (total,)
