"""The errors that activations may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asmgen.harness.cases.case import Array, Draw
from asmgen.ops.gelu import normal_density, normal_distribution
from asmgen.ops.sigmoid import sigmoid
from asmgen.plan.specs import Activation, entry_of


@dataclass(frozen=True)
class Bounds:
    """value: of y = f(x), for an exact x. slope: the largest absolute term that f' is made of, from the activation and
    what it is seen from (x or y); None where dy * f' is exact."""

    value: Callable[[Draw, Array], Array | float]
    slope: Callable[[Activation, Array], Array] | None


#: By kind. relu: exact. leaky: one product. sigmoid: 8 ulp (exp 1 ulp, sum, quotient). tanh: 4 eps (|y| <= 1).
#: gelu: 8 ulp. silu: 8 ulp, and up to 709 times the least e^-|x|, which is flushed to zero.
#: hard_swish: two sums and products. elu: 8 ulp of an exponential less 1. scale: one product.
#: The terms of their slopes are added with few roundings.
BOUNDS: dict[str, Bounds] = {
    "none": Bounds(lambda draw, y: 0.0, None),
    "relu": Bounds(lambda draw, y: 0.0, None),
    "relu6": Bounds(lambda draw, y: 0.0, None),
    "scale": Bounds(lambda draw, y: 2 * draw.eps * np.abs(y), lambda act, y: np.full_like(y, abs(act.alpha))),
    "hard_swish": Bounds(lambda draw, y: 4 * draw.eps * np.abs(y), lambda act, x: np.minimum(np.abs(x) / 3, 1) + 0.5),
    "elu": Bounds(lambda draw, y: 8 * draw.eps * np.abs(y), lambda act, y: np.where(y > 0, 1, np.abs(y) + act.alpha)),
    "leaky_relu": Bounds(lambda draw, y: 2 * draw.eps * np.abs(y), lambda act, y: np.ones_like(y)),
    "sigmoid": Bounds(
        lambda draw, y: 8 * (draw.eps * np.abs(y) + draw.tiny), lambda act, y: np.abs(y) * (1 + np.abs(y))
    ),
    "tanh": Bounds(lambda draw, y: 4 * draw.eps, lambda act, y: 1 + y * y),
    "gelu": Bounds(
        lambda draw, y: 8 * (draw.eps * np.abs(y) + draw.tiny),
        lambda act, x: normal_distribution(x) + np.abs(x) * normal_density(x),
    ),
    "silu": Bounds(
        lambda draw, y: 8 * draw.eps * np.abs(y) + 1000 * draw.tiny,
        lambda act, x: sigmoid(x) * (1 + np.abs(x) * sigmoid(-x)),
    ),
}


def bounds_of(act: Activation) -> Bounds:
    """Raises ValueError for an unknown kind."""
    return entry_of(BOUNDS, act.kind, "bounds of errors")
