"""Tanh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Tanh(Elementwise):
    """y = tanh(x)."""

    kind = "tanh"
    maps_zero_to_zero = True
    is_monotone = True
    slope_from = "y"
    symbol = "tanh"
    tag = "_tanh"

    def f(self, x: Array) -> Array:
        return np.tanh(x)

    def slope(self, saved: Array) -> Array:
        return 1.0 - saved * saved

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.Tanh()
