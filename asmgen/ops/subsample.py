"""Subsample: the shortcut without parameters of He et al. (2015), option A: a pool of one pixel, channels of zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Shape, Site, Tracer, bounded
from asmgen.ops.concat import ConcatGradient
from asmgen.ops.conv2d import MAX_WIDTH
from asmgen.ops.numeric import Array, np
from asmgen.ops.pair import PairField
from asmgen.ops.pool import MAX_WINDOW, AvgPool2D
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PadChannels(Layer):
    """y[first : first + c] = x, other channels are zero. PyTorch: nn.functional.pad(x, (0, 0, 0, 0, first, behind))."""

    kind = "padchannels"

    channels: int
    first: int

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (bounded(site, (self.channels, *inputs[0][1:])),)

    def forward(self, *inputs: Array) -> tuple[Array]:
        (x,) = inputs
        y = np.zeros((len(x), self.channels, *x.shape[2:]))
        y[:, self.first : self.first + x.shape[1]] = x
        return (y,)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(ConcatGradient(self.first, rules.shape(rules.inputs[0])), rules.grads[0])]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        behind = self.channels - self.first - inputs[0][0]
        return nn.ConstantPad3d((0, 0, 0, 0, self.first, behind), 0.0)


@dataclass(frozen=True)
class Subsample(Layer):
    """y[c + (channels - c_in) // 2, h, w] = x[c, stride h, stride w], zeros in the channels on both sides.

    PyTorch: nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, behind)).
    """

    kind = "subsample"

    channels: int
    stride: PairField = PairField(2)

    def check(self) -> None:
        self.need_int("channels", 1, MAX_WIDTH)
        self.need_pair("stride", 1, MAX_WINDOW)

    def parts(self, site: Site, x: Shape) -> tuple[AvgPool2D, PadChannels]:
        """The pool, and the padding behind it."""
        if len(x) != 3:
            raise site.error(f"its input is a vector of {x[0]}; put it before Flatten()")
        if x[0] > self.channels:
            raise site.error(f"its input has {x[0]} channels, and it makes {self.channels}; it can only add some")
        pad = PadChannels(self.channels, (self.channels - x[0]) // 2, where=self.where)
        return AvgPool2D(1, self.stride, where=self.where), pad

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        for part in self.parts(site, inputs[0]):
            inputs = part.out_shapes(site, *inputs)
        return inputs

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        site = Site(self.name or self.kind, self.where)
        for part in self.parts(site, tracer.shape(x)):
            x = tracer.layer(part, (x,), None)
        return x

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        return self.trace(tracer, inputs[0], "")

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        pool, pad = self.parts(Site(self.kind, self.where), inputs[0])
        return nn.Sequential(pool.torch(inputs[0]), pad.torch(inputs[0]))
