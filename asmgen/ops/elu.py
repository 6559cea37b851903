"""ELU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ELU(Elementwise):
    """y = x where x > 0, else alpha * (exp(x) - 1); gradient alpha at x = 0, as in PyTorch."""

    kind = "elu"
    maps_zero_to_zero = True
    is_monotone = True
    slope_from = "y"
    symbol = "elu"
    tag = "_elu{alpha}"

    alpha: float = 1.0

    @property
    def parameter(self) -> float:
        return self.alpha

    @classmethod
    def of_parameter(cls, value: float) -> ELU:
        return cls(value)

    def check(self) -> None:
        # The gradient is found from y, so alpha must not turn it round.
        self.need_number("alpha", 0, 1e6)

    def f(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0.0)))

    def slope(self, saved: Array) -> Array:
        return np.where(saved > 0, 1.0, saved + self.alpha)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.ELU(self.alpha)
