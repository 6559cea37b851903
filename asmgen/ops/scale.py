"""Scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, ElementwiseGradient, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn

    from asmgen.ops.rules import Gradients


@dataclass(frozen=True)
class Scale(Elementwise):
    """y = factor * x; factor is a constant, not a parameter."""

    kind = "scale"
    maps_zero_to_zero = True
    is_monotone = False  # a factor may be negative
    slope_from = "y"
    symbol = "scale"
    tag = "_scale{alpha}"

    factor: float

    @property
    def parameter(self) -> float:
        return self.factor

    @classmethod
    def of_parameter(cls, value: float) -> Scale:
        return cls(value)

    def check(self) -> None:
        self.need_number("factor", -1e6, 1e6)

    def f(self, x: Array) -> Array:
        y: Array = self.factor * x
        return y

    def slope(self, saved: Array) -> Array:
        return np.full_like(saved, self.factor)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        dy = rules.grads[0]
        return [rules.add(ElementwiseGradient(self), dy, dy)]  # the slope is the same wherever it is seen from

    def torch(self, *inputs: Shape) -> nn.Module:
        from asmgen.ops.torch import ScaleModule

        return ScaleModule(self.factor)
