"""ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ReLU(Elementwise):
    """y = max(x, 0); gradient 0 at x = 0, as in PyTorch."""

    kind = "relu"
    maps_zero_to_zero = True
    is_monotone = True
    slope_from = "y"
    is_fusible = True
    is_gate = True
    symbol = "relu"
    tag = "_relu"

    def f(self, x: Array) -> Array:
        return np.maximum(x, 0.0)

    def slope(self, saved: Array) -> Array:
        return np.where(saved > 0, 1.0, 0.0)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.ReLU()
