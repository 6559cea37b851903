"""The convolution and its two gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asmgen.ops.base import MAX_WEIGHTS, Layer, Op, Pair, Parameter, Shape, Site, Tracer, bounded, spatial
from asmgen.ops.init import BIAS_INIT, WEIGHT_INIT, Initializer, check_parameters
from asmgen.ops.numeric import Array, np
from asmgen.ops.pair import PairField, as_pair, size, spell
from asmgen.ops.rules import Gradients
from asmgen.ops.windows import Pads, patches, scatter, windows

if TYPE_CHECKING:
    from torch import nn

MAX_KERNEL = 11
MAX_STRIDE = 64
MAX_PADDING = 1024  # zeros on a side
MAX_PADDED_VALUES = 2**27  # of a sample of the input, with its zeros
MAX_WIDTH = 65536  # filters of a convolution, outputs of a dense layer


@dataclass(frozen=True)
class Conv2D(Layer):
    """y[oc] = bias[oc] + sum over c, i, j of x[c, h * stride + i - pad, w * stride + j - pad] * w[oc, c, i, j].

    A cross-correlation, as in PyTorch. `padding`: "valid" (none), "same" (output as large as the input, stride 1 only;
    the odd zero of an even kernel goes to the bottom and the right), "tf_same" (ceil(size / stride) outputs each way,
    as TensorFlow's SAME: the sides share max((outputs - 1) * stride + kernel - size, 0) zeros, the odd one goes to the
    bottom and the right), or how many zeros: n, a pair (height, width) for both sides each, or four numbers (top,
    bottom, left, right), larger than the kernel, too. `bias_init` uses the fans of the weights. `groups`: 1, or the
    number of channels, which must be that of filters: every channel has a kernel of its own then (DepthwiseConv2D).
    """

    kind = "conv"
    slides = True

    filters: int
    kernel: PairField = PairField()
    stride: PairField = PairField(1)
    padding: str | int | Pair | Pads = "valid"
    bias: bool = True
    init: Initializer = WEIGHT_INIT
    bias_init: Initializer = BIAS_INIT
    groups: int = 1
    dilation: int = 1

    def check(self) -> None:
        self.need_int("filters", 1, MAX_WIDTH)
        self.need_pair("kernel", 1, MAX_KERNEL)
        self.need_pair("stride", 1, MAX_STRIDE)
        self._check_padding()
        self.need_int("groups", 1, MAX_WIDTH)
        if self.groups not in (1, self.filters):
            raise self.error(f"groups={self.groups}: only 1 or the number of channels, with as many filters")
        if self.dilation not in (1, (1, 1)):
            raise self.error(f"dilation={self.dilation}: only 1")
        check_parameters(self)

    def _check_padding(self) -> None:
        if self.padding == "same":
            if self.stride != (1, 1):
                raise self.error(
                    f'padding="same" needs stride 1, not {size(self.stride)}; say how many zeros, '
                    f"such as padding={spell(tuple((k - 1) // 2 for k in self.kernel))}"
                )
        elif isinstance(self.padding, str):
            if self.padding not in ("valid", "tf_same"):
                known = '"same", "tf_same", "valid", a number, a pair or (top, bottom, left, right)'
                raise self.error(f"padding={self.padding!r} must be {known}")
        else:
            object.__setattr__(self, "padding", as_pair(self.padding))
            self.need_sides("padding", 0, MAX_PADDING)

    @property
    def pads(self) -> Pads:
        """Zeros added (top, bottom, left, right) where they do not depend on the input: not of "tf_same"."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding == "same":
            (kh, kw) = self.kernel
            top, left = (kh - 1) // 2, (kw - 1) // 2
            return top, kh - 1 - top, left, kw - 1 - left
        assert isinstance(self.padding, tuple)
        if len(self.padding) == 4:
            return self.padding
        ph, pw = self.padding
        return ph, ph, pw, pw

    def pads_of(self, x: Shape) -> Pads:
        """Zeros added (top, bottom, left, right) to an image."""
        if self.padding != "tf_same":
            return self.pads
        rows, columns = (_tf_same(*side) for side in zip(x[1:], self.kernel, self.stride, strict=True))
        return *rows, *columns

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        x = spatial(site, inputs[0])
        if self.groups not in (1, x[0]):
            raise site.error(f"groups={self.groups}: only 1 or the number of channels, {x[0]}")
        top, bottom, left, right = pads = self.pads_of(x)
        out = windows(site, "kernel", x, self.kernel, self.stride, pads)
        padded = x[0] * (x[1] + top + bottom) * (x[2] + left + right)
        site.above(padded, MAX_PADDED_VALUES, "padded input values per sample")
        site.above(self.filters * x[0] // self.groups * math.prod(self.kernel), MAX_WEIGHTS, "weights")
        return (bounded(site, (self.filters, *out)),)

    def parameters(self, site: Site, *inputs: Shape) -> tuple[Parameter, ...]:
        c, taps = inputs[0][0] // self.groups, math.prod(self.kernel)
        about = c * taps, self.filters // self.groups * taps, site.where, site.label
        weight = Parameter(f"{site.prefix}.weight", (self.filters, c, *self.kernel), self.init, *about)
        bias = Parameter(f"{site.prefix}.bias", (self.filters,), self.bias_init, *about)
        return (weight, bias) if self.bias else (weight,)

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        return tracer.layer(self._traced(tracer.shape(x)), (x,), path, written=self)

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        return tracer.layer(self._traced(tracer.shape(inputs[0])), inputs, None, written=self)

    def _traced(self, x: Shape) -> Layer:
        """The op of the graph: "tf_same" in numbers; one kernel for each channel is an op of its own."""
        from asmgen.ops.depthwise import DepthwiseConv2D

        layer = self
        if self.padding == "tf_same" and len(x) == 3:
            layer = replace(self, padding=self.pads_of(x))
        return layer if self.groups == 1 else DepthwiseConv2D(layer, name=self.name, where=self.where)

    def forward(self, *inputs: Array) -> tuple[Array]:
        x, weight, *bias = inputs
        seen = patches(x, self.kernel, self.stride, self.pads)
        y = np.einsum("nchwij,ocij->nohw", seen, weight, optimize=True)
        return (y + np.reshape(bias[0], (1, -1, 1, 1)) if bias else y,)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        x, weight, *bias = rules.inputs
        dx = None
        if rules.wants[0]:
            dx = rules.add(Conv2DInputGradient(self, rules.shape(x)), rules.grads[0], weight)
        return [dx, *rules.add_all(Conv2DWeightGradient(self), x, rules.grads[0])[: 1 + len(bias)]]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        from asmgen.ops.torch import UnevenConv2d

        top, bottom, left, right = pads = self.pads_of(inputs[0])
        sizes = inputs[0][0], self.filters, self.kernel, self.stride
        if (top, left) != (bottom, right):
            return UnevenConv2d(pads, *sizes, groups=self.groups, bias=self.bias)
        return nn.Conv2d(*sizes, (top, left), groups=self.groups, bias=self.bias)


def _tf_same(side: int, kernel: int, stride: int) -> Pair:
    """TensorFlow's zeros before and behind a side, for ceil(side / stride) outputs."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Conv2DInputGradient(Op):
    """dx[c, h, w] = sum over oc, i, j of dy[oc, (h + pad - i) / stride, (w + pad - j) / stride] * w[oc, c, i, j].

    Inputs: dy, the weights.
    """

    kind = "conv_dx"
    role = "gradient"

    of: Conv2D
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, weight = inputs
        values = np.einsum("nohw,ocij->nchwij", dy, weight, optimize=True)
        return (scatter(values, self.of.stride, self.of.pads, self.x[1], self.x[2]),)


@dataclass(frozen=True)
class Conv2DWeightGradient(Op):
    """dw[oc, c, i, j] = sum over n, h, w of dy[n, oc, h, w] * x[n, c, h * stride + i - pad, w * stride + j - pad];
    db[oc] = sum of dy. Inputs: x, dy."""

    kind = "conv_dw"
    role = "parameter gradient"
    more_outputs = (("bias", "parameter gradient"),)

    of: Conv2D

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        x, dy = inputs
        return (dy[0], x[0], *self.of.kernel), dy[:1]

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        x, dy = inputs
        seen = patches(x, self.of.kernel, self.of.stride, self.of.pads)
        return np.einsum("nchwij,nohw->ocij", seen, dy, optimize=True), dy.sum((0, 2, 3))
