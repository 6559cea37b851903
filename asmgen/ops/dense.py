"""The dense layer and its two gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import MAX_WEIGHTS, Layer, Op, Parameter, Shape, Site, bounded, dims
from asmgen.ops.conv2d import MAX_WIDTH
from asmgen.ops.init import BIAS_INIT, WEIGHT_INIT, Initializer, check_parameters
from asmgen.ops.numeric import Array
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Dense(Layer):
    """y = x W^T + bias, W [units, inputs]."""

    kind = "dense"

    units: int
    bias: bool = True
    init: Initializer = WEIGHT_INIT
    bias_init: Initializer = BIAS_INIT

    def check(self) -> None:
        self.need_int("units", 1, MAX_WIDTH)
        check_parameters(self)

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        if len(inputs[0]) == 3:
            raise site.error(f"its input is an image {dims(inputs[0])}; put Flatten() before it")
        site.above(self.units * inputs[0][0], MAX_WEIGHTS, "weights")
        return (bounded(site, (self.units,)),)

    def parameters(self, site: Site, *inputs: Shape) -> tuple[Parameter, ...]:
        features = inputs[0][0]
        about = features, self.units, site.where, site.label
        weight = Parameter(f"{site.prefix}.weight", (self.units, features), self.init, *about)
        bias = Parameter(f"{site.prefix}.bias", (self.units,), self.bias_init, *about)
        return (weight, bias) if self.bias else (weight,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        x, weight, *bias = inputs
        return (x @ weight.T + (bias[0] if bias else 0.0),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        x, weight, *bias = rules.inputs
        dx = rules.add(DenseInputGradient(self), rules.grads[0], weight) if rules.wants[0] else None
        return [dx, *rules.add_all(DenseWeightGradient(self), x, rules.grads[0])[: 1 + len(bias)]]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Linear(inputs[0][0], self.units, bias=self.bias)


@dataclass(frozen=True)
class DenseInputGradient(Op):
    """dx = dy W. Inputs: dy, the weights."""

    kind = "dense_dx"
    role = "gradient"

    of: Dense

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[1][1:],)

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, weight = inputs
        return (dy @ weight,)


@dataclass(frozen=True)
class DenseWeightGradient(Op):
    """dw[o, k] = sum over n of dy[n, o] x[n, k]; db[o] = sum of dy. Inputs: x, dy."""

    kind = "dense_dw"
    role = "parameter gradient"
    more_outputs = (("bias", "parameter gradient"),)

    of: Dense

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        x, dy = inputs
        return (*dy, *x), dy

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        x, dy = inputs
        return dy.T @ x, dy.sum(0)
