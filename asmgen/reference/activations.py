"""What activations compute, in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.ops.activations import ACTIVATIONS
from asmgen.plan.specs import Activation, entry_of, op_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Functions:
    """f(z), and f' seen from z or from y = f(z), as Traits.slope_from says."""

    value: Callable[[Activation, Array], Array]
    slope: Callable[[Activation, Array], Array]


#: By kind.
FUNCTIONS: dict[str, Functions] = {
    "none": Functions(lambda act, z: z, lambda act, y: np.ones_like(y)),
    **{
        kind: Functions(lambda act, z: op_of(act).f(z), lambda act, saved: op_of(act).slope(saved))
        for kind in ACTIVATIONS
    },
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
