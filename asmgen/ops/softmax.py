"""Softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Shape, Site
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Softmax(Layer):
    """y[i] = exp(x[i]) / sum over j of exp(x[j]). Only last, before SoftmaxCrossEntropy, whose part it is."""

    kind = "softmax"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (softmax(inputs[0]),)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Softmax(dim=1)


def softmax(x: Array) -> Array:
    """Of every row, without overflow."""
    e = np.exp(x - x.max(-1, keepdims=True))
    y: Array = e / e.sum(-1, keepdims=True)
    return y
