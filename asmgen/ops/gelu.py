"""GELU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Shape
from asmgen.ops.numeric import Array, np

if TYPE_CHECKING:
    from torch import nn

_LIMIT = 40.0  # Phi(-40) is zero


@dataclass(frozen=True)
class GELU(Elementwise):
    """y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, the exact form: Phi is the normal distribution's function."""

    kind = "gelu"
    maps_zero_to_zero = True
    is_monotone = False
    slope_from = "x"
    symbol = "gelu"
    tag = "_gelu"

    def f(self, x: Array) -> Array:
        magnitude = np.minimum(np.abs(x), _LIMIT)
        y: Array = np.maximum(x, 0.0) - magnitude * normal_distribution(-magnitude)
        return y

    def slope(self, saved: Array) -> Array:
        x = np.clip(saved, -_LIMIT, _LIMIT)
        slope: Array = normal_distribution(x) + x * normal_density(x)
        return slope

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.GELU()


def normal_density(x: Array) -> Array:
    """e^(-x^2 / 2) / sqrt(2 pi)."""
    density: Array = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return density


def normal_distribution(x: Array) -> Array:
    """Phi(x) = erfc(-x / sqrt 2) / 2 of finite x, in float64.

    -x / sqrt 2 is rounded, which far below zero costs x^2 / 2 times as much; so the value is put right by it.
    """
    exact = np.asarray(x, np.longdouble) * -np.sqrt(np.longdouble(0.5))
    z = exact.astype(np.float64)
    value = np.frompyfunc(math.erfc, 1, 1)(z).astype(np.float64)
    distribution: Array = 0.5 * value - np.exp(-z * z) / math.sqrt(math.pi) * (exact - z).astype(np.float64)
    return distribution
