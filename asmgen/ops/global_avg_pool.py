"""The mean over all pixels of a channel, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Op, Shape, Site, spatial
from asmgen.ops.numeric import Array, np
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """y[c] = the mean of x[c] over all pixels: (c, h, w) becomes c features.

    PyTorch: nn.AdaptiveAvgPool2d(1) and nn.Flatten(), as one module.
    """

    kind = "pool"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (spatial(site, inputs[0])[:1],)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (inputs[0].mean((2, 3)),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(GlobalAvgPoolGradient(rules.shape(rules.inputs[0])), rules.grads[0])]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@dataclass(frozen=True)
class GlobalAvgPoolGradient(Op):
    """dx[c, h, w] = dy[c] / (h w) at every pixel. Input: dy."""

    kind = "pool_dx"
    role = "gradient"

    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        _, h, w = self.x
        each = inputs[0][:, :, None, None] / (h * w)
        return (np.broadcast_to(each, (len(inputs[0]), *self.x)).copy(),)
