"""LeakyReLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LeakyReLU(Elementwise):
    """y = x where x > 0, else alpha * x."""

    kind = "leakyrelu"
    maps_zero_to_zero = True
    is_monotone = True
    slope_from = "y"
    is_fusible = True
    is_gate = True
    symbol = "leaky_relu"
    tag = "_leaky{alpha}"

    alpha: float = 0.01

    @property
    def parameter(self) -> float:
        return self.alpha

    @classmethod
    def of_parameter(cls, value: float) -> LeakyReLU:
        """Of any slope: kernels take those that a model may not have."""
        layer = cls()
        object.__setattr__(layer, "alpha", value)
        return layer

    def check(self) -> None:
        # The gradient is found from the sign of y, so alpha must not turn it round.
        self.need_number("alpha", 0, 1)

    def f(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * x)

    def slope(self, saved: Array) -> Array:
        return np.where(saved > 0, 1.0, self.alpha)

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.LeakyReLU(self.alpha)
