"""The layers of the NumPy peer: as one writes them for BLAS, convolutions as products with columns of patches.

Images are [n, c, h, w]. `forward` keeps what `backward` needs; `backward` takes dy, sets the gradients and returns dx.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from asmgen.errors import UnsupportedError
from asmgen.graph.graph import Node as GraphNode
from asmgen.ops.base import Elementwise
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.dense import Dense
from asmgen.ops.flatten import Flatten
from asmgen.ops.pool import AvgPool2D, MaxPool2D

Array = np.ndarray[Any, Any]


class Node:
    """A layer. `parameters` and `gradients` are by the parameter's last name, "weight" or "bias"."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError


class ConvNode(Node):
    """z[n, oc] = w [oc, c*kh*kw] @ columns [n, c*kh*kw, oh*ow] + b."""

    def __init__(self, layer: Conv2D, pads: tuple[int, int, int, int], needs_dx: bool) -> None:
        super().__init__()
        self._kernel, self._stride, self._pads, self._needs_dx = layer.kernel, layer.stride, pads, needs_dx

    def forward(self, x: Array) -> Array:
        (kh, kw), (sh, sw), (top, bottom, left, right) = self._kernel, self._stride, self._pads
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        patches = sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
        n, c, oh, ow = patches.shape[:4]
        self._padded_shape, self._out = padded.shape, (oh, ow)
        self._columns = patches.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, oh * ow)
        weight = self.parameters["weight"]
        z: Array = weight.reshape(len(weight), -1) @ self._columns
        if "bias" in self.parameters:
            z += self.parameters["bias"][:, None]
        return z.reshape(n, -1, oh, ow)

    def backward(self, dy: Array) -> Array:
        weight = self.parameters["weight"]
        dz = dy.reshape(len(dy), len(weight), -1)
        self.gradients["weight"] = (dz @ self._columns.transpose(0, 2, 1)).sum(0).reshape(weight.shape)
        if "bias" in self.parameters:
            self.gradients["bias"] = dz.sum((0, 2))
        if not self._needs_dx:
            return dy
        (kh, kw), (sh, sw), (oh, ow) = self._kernel, self._stride, self._out
        columns = (weight.reshape(len(weight), -1).T @ dz).reshape(len(dy), -1, kh, kw, oh, ow)
        dx: Array = np.zeros(self._padded_shape, dy.dtype)
        for i in range(kh):
            for j in range(kw):
                dx[:, :, i : i + oh * sh : sh, j : j + ow * sw : sw] += columns[:, :, i, j]
        top, bottom, left, right = self._pads
        return dx[:, :, top : dx.shape[2] - bottom, left : dx.shape[3] - right]


class DenseNode(Node):
    """z = x @ w.T + b."""

    def forward(self, x: Array) -> Array:
        self._x = x
        z: Array = x @ self.parameters["weight"].T
        return z + self.parameters["bias"] if "bias" in self.parameters else z

    def backward(self, dy: Array) -> Array:
        self.gradients["weight"] = dy.T @ self._x
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum(0)
        dx: Array = dy @ self.parameters["weight"]
        return dx


class PoolNode(Node):
    """The maximum or the mean of each window."""

    def __init__(self, layer: MaxPool2D | AvgPool2D) -> None:
        super().__init__()
        self._is_max, (self._window, self._stride) = isinstance(layer, MaxPool2D), layer.geometry

    def forward(self, x: Array) -> Array:
        (ph, pw), (sh, sw) = self._window, self._stride
        windows = sliding_window_view(x, (ph, pw), axis=(2, 3))[:, :, ::sh, ::sw]
        windows = windows.reshape(*windows.shape[:4], ph * pw)
        self._x_shape = x.shape
        if not self._is_max:
            mean: Array = windows.mean(-1, dtype=x.dtype)
            return mean
        self._argmax = windows.argmax(-1)
        return np.take_along_axis(windows, self._argmax[..., None], -1)[..., 0]

    def backward(self, dy: Array) -> Array:
        (ph, pw), (sh, sw), (oh, ow) = self._window, self._stride, dy.shape[2:]
        dx = np.zeros(self._x_shape, dy.dtype)
        for position in range(ph * pw):
            r, s = divmod(position, pw)
            part = dy * (self._argmax == position) if self._is_max else dy / dy.dtype.type(ph * pw)
            dx[:, :, r : r + oh * sh : sh, s : s + ow * sw : sw] += part
        return dx


class FlattenNode(Node):
    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self._shape)


_Function = Callable[[Array, float], Array]


def _sigmoid(x: Array, alpha: float) -> Array:
    e = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, e).astype(x.dtype) / (1 + e)
    return y


#: By the op's symbol, as one writes them for speed: y from x and alpha; the slope from y and alpha.
_ACTIVATIONS: dict[str, tuple[_Function, _Function]] = {
    "relu": (lambda x, alpha: np.maximum(x, 0), lambda y, alpha: np.where(y > 0, y.dtype.type(1), y.dtype.type(0))),
    "leaky_relu": (
        lambda x, alpha: np.where(x > 0, x, x.dtype.type(alpha) * x),
        lambda y, alpha: np.where(y > 0, y.dtype.type(1), y.dtype.type(alpha)),
    ),
    "sigmoid": (_sigmoid, lambda y, alpha: y * (1 - y)),
    "tanh": (lambda x, alpha: np.tanh(x), lambda y, alpha: 1 - y * y),
}


class ActivationNode(Node):
    """An activation: as _ACTIVATIONS has it, else by its op's own f and slope, in the precision of x."""

    def __init__(self, op: Elementwise) -> None:
        super().__init__()
        self._op = op
        own: tuple[_Function, _Function] = (lambda x, _: op.f(x), lambda saved, _: op.slope(saved))
        self._value, self._slope = _ACTIVATIONS.get(op.symbol, own)

    def forward(self, x: Array) -> Array:
        y: Array = self._value(x, self._op.parameter).astype(x.dtype, copy=False)
        self._saved = x if self._op.slope_from == "x" else y
        return y

    def backward(self, dy: Array) -> Array:
        dx: Array = dy * self._slope(self._saved, self._op.parameter).astype(dy.dtype, copy=False)
        return dx


def node_of(placed: GraphNode, *, is_first: bool) -> Node:
    """The node of a layer; the first one with parameters need not compute dx."""
    layer = placed.op
    match layer:
        case Conv2D():
            return ConvNode(layer, layer.pads, not is_first)
        case Dense():
            return DenseNode()
        case MaxPool2D() | AvgPool2D():
            return PoolNode(layer)
        case Flatten():
            return FlattenNode()
        case Elementwise():
            return ActivationNode(layer)
    raise UnsupportedError(placed.where, f"{placed.label}: the NumPy peer has no {type(layer).__name__}")
