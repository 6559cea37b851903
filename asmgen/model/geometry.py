"""What one layer does to a shape: (c, h, w) for images, (features,) for vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asmgen.errors import ModelError
from asmgen.model.layers import AvgPool2D, Conv2D, Dense, Flatten, Layer, MaxPool2D, Pair, size, spell

Shape = tuple[int, ...]

# Offsets inside one tensor of one sample, and inside one layer's weights, stay within 31 bits. Where pad lanes make
# more of them, the kernel is refused (Plan.out_of_reach).
MAX_SAMPLE_VALUES = 2**26
MAX_WEIGHTS = 2**27


@dataclass(frozen=True)
class LayerShape:
    """A layer in its place: `index` in the model, `label` ("conv2": the second convolution), shapes without the batch.

    `pads` is the padding (top, bottom, left, right), zeros but for convolutions.
    """

    layer: Layer
    index: int
    in_shape: Shape
    out_shape: Shape
    pads: tuple[int, int, int, int]
    label: str

    @property
    def where(self) -> str:
        """`file:line` of the layer."""
        return self.layer.where


def place(layer: Layer, index: int, label: str, in_shape: Shape, after_pool: bool) -> LayerShape:
    """The layer on this input. Raises ModelError where it does not fit."""
    refuse = _Refusal(layer, label)
    pads = (0, 0, 0, 0)
    out: Shape
    match layer:
        case Conv2D():
            pads = layer.pads
            out = layer.filters, *_windows(refuse, in_shape, layer.kernel, layer.stride, pads, after_pool)
            refuse.above(layer.filters * in_shape[0] * math.prod(layer.kernel), MAX_WEIGHTS, "weights")
        case MaxPool2D() | AvgPool2D():
            out = in_shape[0], *_windows(refuse, in_shape, layer.window, layer.stride, pads, after_pool)
        case Dense():
            if len(in_shape) == 3:
                raise refuse.error(f"its input is an image {dims(in_shape)}; put Flatten() before it")
            out = (layer.units,)
            refuse.above(layer.units * in_shape[0], MAX_WEIGHTS, "weights")
        case Flatten():
            if len(in_shape) == 1:
                raise refuse.error(f"its input is already a vector of {in_shape[0]}; remove this Flatten()")
            out = (math.prod(in_shape),)
        case _:
            out = in_shape
    refuse.above(math.prod(out), MAX_SAMPLE_VALUES, "output values per sample")
    return LayerShape(layer, index, in_shape, out, pads, label)


def dims(shape: Shape) -> str:
    """(3, 32, 32) as "3x32x32"."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class _Refusal:
    layer: Layer
    label: str

    def error(self, message: str) -> ModelError:
        return ModelError(self.layer.where, f"{self.label}: {message}")

    def above(self, value: int, limit: int, what: str) -> None:
        if value > limit:
            raise self.error(f"{value} {what}; at most {limit}")


def _windows(
    refuse: _Refusal, in_shape: Shape, window: Pair, stride: Pair, pads: tuple[int, int, int, int], after_pool: bool
) -> Pair:
    """How many windows fit: floor((side + padding - window) / stride) + 1 each way."""
    is_conv = isinstance(refuse.layer, Conv2D)
    if len(in_shape) == 1:
        raise refuse.error(f"its input is a vector of {in_shape[0]}; put it before Flatten() and the dense layers")
    _, h, w = in_shape
    padded = h + pads[0] + pads[1], w + pads[2] + pads[3]
    if padded[0] < window[0] or padded[1] < window[1]:
        if is_conv:
            need = tuple(max(0, -(-(k - side) // 2)) for k, side in zip(window, (h, w), strict=True))
            advice = f"add padding={spell(need)}" + (" or drop the pool before it" if after_pool else "")
        else:
            advice = "make the window smaller or drop this pool"
        what = "kernel" if is_conv else "window"
        padding = f" padded to {size(padded)}" if any(pads) else ""
        raise refuse.error(f"{what} {size(window)} on input {size((h, w))}{padding} leaves no output; {advice}")
    return (padded[0] - window[0]) // stride[0] + 1, (padded[1] - window[1]) // stride[1] + 1
