"""SiLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np
from asmgen.ops.sigmoid import sigmoid

if TYPE_CHECKING:
    from torch import nn

_LIMIT = 750.0  # sigmoid(-750) is zero


@dataclass(frozen=True)
class SiLU(Elementwise):
    """y = x / (1 + exp(-x)), also called swish."""

    kind = "silu"
    maps_zero_to_zero = True
    is_monotone = False
    slope_from = "x"
    symbol = "silu"
    tag = "_silu"

    def f(self, x: Array) -> Array:
        magnitude = np.minimum(np.abs(x), _LIMIT)
        y: Array = np.maximum(x, 0.0) - magnitude * sigmoid(-magnitude)
        return y

    def slope(self, saved: Array) -> Array:
        x = np.clip(saved, -_LIMIT, _LIMIT)
        slope: Array = sigmoid(x) * (1.0 + x * sigmoid(-x))
        return slope

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.SiLU()
