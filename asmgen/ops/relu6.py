"""ReLU6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ReLU6(Elementwise):
    """y = min(max(x, 0), 6); gradient 0 at x = 0 and x = 6, as in PyTorch."""

    kind = "relu6_"  # relu6_1: the 61st ReLU is relu61
    maps_zero_to_zero = True
    is_monotone = True
    slope_from = "y"
    is_fusible = True
    symbol = "relu6"
    tag = "_relu6"

    def __str__(self) -> str:
        return self.symbol

    def f(self, x: Array) -> Array:
        return np.minimum(np.maximum(x, 0.0), 6.0)

    def slope(self, saved: Array) -> Array:
        return np.where((saved > 0) & (saved < 6), 1.0, 0.0)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.ReLU6()
