"""What activations compute, in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.plan.specs import Activation, entry_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Functions:
    """f(z), and f' seen from z or from y = f(z), as Traits.slope_from says."""

    value: Callable[[Activation, Array], Array]
    slope: Callable[[Activation, Array], Array]


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


#: By kind.
FUNCTIONS: dict[str, Functions] = {
    "none": Functions(lambda act, z: z, lambda act, y: np.ones_like(y)),
    "relu": Functions(lambda act, z: np.maximum(z, 0.0), lambda act, y: np.where(y > 0, 1.0, 0.0)),
    "leaky_relu": Functions(
        lambda act, z: np.where(z > 0, z, act.alpha * z), lambda act, y: np.where(y > 0, 1.0, act.alpha)
    ),
    "sigmoid": Functions(lambda act, z: sigmoid(z), lambda act, y: y * (1.0 - y)),
    "tanh": Functions(lambda act, z: np.tanh(z), lambda act, y: 1.0 - y * y),
}


def activate(act: Activation, z: Array) -> Array:
    """f(z); raises ValueError for an unknown kind."""
    return entry_of(FUNCTIONS, act.kind, "reference").value(act, z)


def slope(act: Activation, saved: Array | None) -> Array:
    """f'(z), seen from what backward keeps: z or y = f(z); without an activation, 1, and `saved` may be None.

    Raises ValueError for an unknown kind, and where an activation has nothing to be seen from.
    """
    functions = entry_of(FUNCTIONS, act.kind, "reference")
    if saved is None:
        if act:
            raise ValueError(f"the slope of {act.kind} needs what it is seen from")
        return np.ones(())
    return functions.slope(act, saved)
