"""Batch normalisation (Ioffe and Szegedy, 2015), its gradients, and its running statistics.

Statistics are those of the samples present, over samples and pixels: m values a channel. The mean and the variance are
divided by m; the running variance is moved by the variance divided by m - 1, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Buffer, Layer, Op, Parameter, Shape, Site
from asmgen.ops.init import Ones, Zeros
from asmgen.ops.numeric import Array, np
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn

_LEAST_EPS = 1e-30  # 1 / sqrt(eps) of a channel without variance is then a finite float32


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y[c] = (x[c] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c], c an image's channel or a vector's feature.

    A training step takes mean and var of its batch, and moves the running ones by `momentum` of the difference (None:
    the running ones are the average over all steps). Evaluation and inference take the running ones. scale, bias:
    whether there is a `weight` (else 1) and a `bias` (else 0). PyTorch: nn.BatchNorm1d, nn.BatchNorm2d.
    """

    kind = "norm"
    more_outputs = (("mean", "statistics"), ("var", "statistics"))
    reads_present = True

    momentum: float | None = 0.1
    eps: float = 1e-5
    scale: bool = True
    bias: bool = True

    def check(self) -> None:
        if self.momentum is not None:
            self.need_number("momentum", 0.0, 1.0)
        self.need_number("eps", _LEAST_EPS, 1e3)
        self.need_flag("scale")
        self.need_flag("bias")

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[0], inputs[0][:1], inputs[0][:1]

    def parameters(self, site: Site, *inputs: Shape) -> tuple[Parameter, ...]:
        c = inputs[0][0]
        about = 1, c, site.where, site.label
        weight = Parameter(f"{site.prefix}.weight", (c,), Ones(), *about)
        bias = Parameter(f"{site.prefix}.bias", (c,), Zeros(), *about)
        return (*((weight,) if self.scale else ()), *((bias,) if self.bias else ()))

    def buffers(self, site: Site, *inputs: Shape) -> tuple[Buffer, ...]:
        c, about = inputs[0][0], (site.where, site.label)
        return (
            Buffer(f"{site.prefix}.running_mean", (c,), 0.0, *about),
            Buffer(f"{site.prefix}.running_var", (c,), 1.0, *about),
            Buffer(f"{site.prefix}.num_batches_tracked", (), 0.0, *about, is_count=True),
        )

    def next_buffers(self, *inputs: Shape) -> RunningStatistics:
        return RunningStatistics(self.momentum, values_of_sample(inputs[0]))

    def forward(self, *inputs: Array) -> tuple[Array, Array, Array]:
        x, *parameters, present = inputs
        seen = x[: int(present)]
        axes = axes_of(x)
        mean, var = seen.mean(axes), seen.var(axes)
        return self.normalise(x, mean, var, *parameters), mean, var

    def normalise(self, x: Array, mean: Array, var: Array, *parameters: Array) -> Array:
        """y of statistics that are known; parameters: weight and bias, those that there are."""
        weight, bias = self.both(*parameters)
        factor = 1 / np.sqrt(var + self.eps) * weight
        return (x - along(mean, x)) * along(factor, x) + along(np.broadcast_to(bias, np.shape(mean)), x)

    def both(self, *parameters: Array) -> tuple[Array | float, Array | float]:
        """Weight and bias, 1 and 0 where there is none."""
        left = list(parameters)
        weight = left.pop(0) if self.scale else 1.0
        return weight, left.pop(0) if self.bias else 0.0

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        x, *_, present = rules.inputs
        _, mean, var = rules.outputs
        (dy,) = rules.grads[:1]
        dw, db = rules.add_all(BatchNormSums(self), dy, x, mean, var, present)
        weight = rules.inputs[1:2] if self.scale else ()
        dx = None
        if rules.wants[0]:
            dx = rules.add(BatchNormInputGradient(self), dy, x, mean, var, *weight, dw, db, present)
        return [dx, *((dw,) if self.scale else ()), *((db,) if self.bias else ()), None]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        from asmgen.ops.torch import PartBatchNorm

        kind = nn.BatchNorm2d if len(inputs[0]) == 3 else nn.BatchNorm1d
        c = inputs[0][0]
        if self.scale == self.bias:
            return kind(c, self.eps, self.momentum, affine=self.scale)
        return PartBatchNorm(c, self.eps, self.momentum, scale=self.scale)


@dataclass(frozen=True)
class BatchNormSums(Op):
    """dw[c] = sum of dy (x - mean) / sqrt(var + eps), db[c] = sum of dy, over samples and pixels.

    Inputs: dy, x, mean, var, present. dy of absent samples is 0.
    """

    kind = "norm_dw"
    role = "parameter gradient"
    more_outputs = (("bias", "parameter gradient"),)

    of: BatchNorm

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[2], inputs[2]

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        dy, x, mean, var, present = inputs
        dy, x = dy[: int(present)], x[: int(present)]
        normal = (x - along(mean, x)) * along(1 / np.sqrt(var + self.of.eps), x)
        return (dy * normal).sum(axes_of(x)), dy.sum(axes_of(x))


@dataclass(frozen=True)
class BatchNormInputGradient(Op):
    """dx = weight / sqrt(var + eps) (dy - db / m - (x - mean) / sqrt(var + eps) dw / m); 0 for absent samples.

    Inputs: dy, x, mean, var, weight (if there is one), dw, db, present.
    """

    kind = "norm_dx"
    role = "gradient"

    of: BatchNorm

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, x, mean, var, *weight, dw, db, present = inputs
        m = int(present) * values_of_sample(x.shape[1:])
        factor = 1 / np.sqrt(var + self.of.eps)
        inner = dy - along(db / m, x) - (x - along(mean, x)) * along(factor * dw / m, x)
        dx = inner * along(factor * (weight[0] if weight else 1.0), x)
        dx[int(present) :] = 0.0
        return (dx,)


@dataclass(frozen=True)
class RunningStatistics(Op):
    """running += momentum (statistic - running), the variance as m / (m - 1) of the batch's; the count + 1.

    Inputs: mean, var, present, running_mean, running_var, num_batches_tracked. values: of a channel in a sample.
    """

    kind = "running"
    role = "buffer"
    more_outputs = (("running_var", "buffer"), ("num_batches_tracked", "buffer"))

    momentum: float | None
    values: int

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[3:]

    def forward(self, *inputs: Array) -> tuple[Array, Array, Array]:
        mean, var, present, running_mean, running_var, count = inputs
        m = int(present) * self.values
        share = 1 / (count + 1) if self.momentum is None else self.momentum
        unbiased = var * (m / (m - 1))
        return (
            running_mean + share * (mean - running_mean),
            running_var + share * (unbiased - running_var),
            count + 1,
        )


@dataclass(frozen=True)
class FrozenBatchNorm(Op):
    """BatchNorm with the running statistics: what evaluation and inference compute.

    Inputs: x, weight and bias (those that there are), running_mean, running_var.
    """

    kind = "norm_frozen"

    of: BatchNorm

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        x, *parameters, mean, var = inputs
        return (self.of.normalise(x, mean, var, *parameters),)


def values_of_sample(shape: Shape) -> int:
    """Values of a channel in one sample: pixels of an image, 1 of a vector."""
    return math.prod(shape[1:])


def axes_of(x: Array) -> tuple[int, ...]:
    """All axes of an array but the channels'."""
    return (0, *range(2, x.ndim))


def along(channels: Array, x: Array) -> Array:
    """[c] shaped to be combined with x, [n, c] or [n, c, h, w]."""
    shaped: Array = np.reshape(channels, (1, -1, *(1,) * (x.ndim - 2)))
    return shaped
