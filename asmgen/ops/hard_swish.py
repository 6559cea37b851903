"""HardSwish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class HardSwish(Elementwise):
    """y = x * min(max(x + 3, 0), 6) / 6; gradient 0 at x = -3 and 1 at x = 3, as in PyTorch."""

    kind = "hardswish"
    maps_zero_to_zero = True
    is_monotone = False
    slope_from = "x"
    symbol = "hard_swish"
    tag = "_hardswish"

    def f(self, x: Array) -> Array:
        above = np.maximum(x, -3.0)  # infinity times zero does not arise
        y: Array = above * (np.minimum(above + 3.0, 6.0) / 6.0)
        return y

    def slope(self, saved: Array) -> Array:
        return np.where(saved <= -3, 0.0, np.where(saved >= 3, 1.0, saved / 3.0 + 0.5))

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Hardswish()
