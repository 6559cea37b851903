"""Sigmoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)). Last, before BinaryCrossEntropy, it is part of the loss."""

    kind = "sigmoid"
    maps_zero_to_zero = False
    is_monotone = True
    slope_from = "y"
    symbol = "sigmoid"
    tag = "_sigmoid"

    def f(self, x: Array) -> Array:
        return sigmoid(x)

    def slope(self, saved: Array) -> Array:
        return saved * (1.0 - saved)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Sigmoid()


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)
