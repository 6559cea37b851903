"""The depthwise convolution and its gradients: every channel has a kernel of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Op, Parameter, Shape, Site
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.numeric import Array, np
from asmgen.ops.rules import Gradients
from asmgen.ops.windows import patches, scatter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """y[c] = bias[c] + sum over i, j of x[c, h * stride + i - pad, w * stride + j - pad] * w[c, 0, i, j].

    What a `Conv2D` whose groups are its channels is traced to; `of` is that layer.
    """

    kind = "depthwise"
    slides = True

    of: Conv2D

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return self.of.out_shapes(site, *inputs)

    def parameters(self, site: Site, *inputs: Shape) -> tuple[Parameter, ...]:
        return self.of.parameters(site, *inputs)

    def forward(self, *inputs: Array) -> tuple[Array]:
        x, weight, *bias = inputs
        seen = patches(x, self.of.kernel, self.of.stride, self.of.pads)
        y = np.einsum("nchwij,cij->nchw", seen, weight[:, 0], optimize=True)
        return (y + np.reshape(bias[0], (1, -1, 1, 1)) if bias else y,)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        x, weight, *bias = rules.inputs
        dx = None
        if rules.wants[0]:
            dx = rules.add(DepthwiseInputGradient(self.of, rules.shape(x)), rules.grads[0], weight)
        return [dx, *rules.add_all(DepthwiseWeightGradient(self.of), x, rules.grads[0])[: 1 + len(bias)]]

    def torch(self, *inputs: Shape) -> nn.Module:
        return self.of.torch(*inputs)


@dataclass(frozen=True)
class DepthwiseInputGradient(Op):
    """dx[c, h, w] = sum over i, j of dy[c, (h + pad - i) / stride, (w + pad - j) / stride] * w[c, 0, i, j].

    Inputs: dy, the weights.
    """

    kind = "depthwise_dx"
    role = "gradient"

    of: Conv2D
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, weight = inputs
        values = np.einsum("nchw,cij->nchwij", dy, weight[:, 0])
        return (scatter(values, self.of.stride, self.of.pads, self.x[1], self.x[2]),)


@dataclass(frozen=True)
class DepthwiseWeightGradient(Op):
    """dw[c, 0, i, j] = sum over n, h, w of dy[n, c, h, w] * x[n, c, h * stride + i - pad, w * stride + j - pad];
    db[c] = sum of dy. Inputs: x, dy."""

    kind = "depthwise_dw"
    role = "parameter gradient"
    more_outputs = (("bias", "parameter gradient"),)

    of: Conv2D

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        dy = inputs[1]
        return (dy[0], 1, *self.of.kernel), dy[:1]

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        x, dy = inputs
        seen = patches(x, self.of.kernel, self.of.stride, self.of.pads)
        return np.einsum("nchwij,nchw->cij", seen, dy, optimize=True)[:, None], dy.sum((0, 2, 3))
