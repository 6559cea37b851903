"""Activations: what plans and all targets must know of each kind. Code and bounds are in tables of their own:

what a kind computes    asmgen/reference/activations.py
its code                asmgen/kernels/activations.py, asmgen/cuda/activations.py
its errors              asmgen/harness/activation_bounds.py

A new kind is an entry in each. A kind without an entry is an error wherever it is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Traits:
    """A kind's properties.

    slope_from: which tensor f' is computed from, the input "x" or the output "y"; backward keeps that one.
    maps_zero_to_zero: f(0) = 0, so that padding stays zero by itself; elsewhere it is masked.
    is_monotone: f(max z) = max f(z).
    is_fusible: kernels of products apply f before they store y, with no register but that of z and a spare one. Its
        slope is at most 1 in absolute value, so that it does not magnify the errors of z.
    is_gate: f' is 1 where y > 0 and `alpha` elsewhere, which live bits and Conv2dUnpool can tell.
    tag: of symbols; {alpha} stands for its value.
    """

    slope_from: Literal["x", "y"]
    maps_zero_to_zero: bool
    is_monotone: bool
    is_fusible: bool
    is_gate: bool
    tag: str


#: By kind.
TRAITS: dict[str, Traits] = {
    "none": Traits("y", True, True, True, True, ""),
    "relu": Traits("y", True, True, True, True, "_relu"),
    "leaky_relu": Traits("y", True, True, True, True, "_leaky{alpha}"),
    "sigmoid": Traits("y", False, True, False, False, "_sigmoid"),
    "tanh": Traits("y", True, True, False, False, "_tanh"),
}


@dataclass(frozen=True)
class Activation:
    """y = f(z), f by `kind`: a key of TRAITS. alpha: the slope of "leaky_relu" below zero."""

    kind: str = "none"
    alpha: float = 0.0

    def __bool__(self) -> bool:
        return self.kind != "none"

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown kind, and for an alpha that the kind does not have."""
        if "{alpha}" not in self.traits.tag and self.alpha:
            raise ValueError(f"activation {self.kind!r} has no alpha, but it is {self.alpha}")

    @property
    def traits(self) -> Traits:
        """Raises ValueError for an unknown kind."""
        return entry_of(TRAITS, self.kind, "properties")


def entry_of(table: Mapping[str, Entry], kind: str, what: str) -> Entry:
    """The entry of an activation's kind; raises ValueError where the table, which holds `what`, has none."""
    if kind not in table:
        raise ValueError(f"activation {kind!r} has no {what}; there are those of: {', '.join(table)}")
    return table[kind]
