"""Activations: what plans and all targets must know of each kind. Code and bounds are in tables of their own:

what a kind computes    its op in asmgen/ops/, which asmgen/ops/activations.py lists
its code                asmgen/kernels/common/activations.py, asmgen/cuda/common/activations.py
its errors              asmgen/harness/activation_bounds.py

A new kind is an entry in each. A kind without an entry is an error wherever it is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from asmgen.ops.activations import ACTIVATIONS
from asmgen.ops.base import Elementwise

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Traits:
    """A kind's properties: those of its op (asmgen/ops/base.py, Elementwise)."""

    slope_from: Literal["x", "y"]
    maps_zero_to_zero: bool
    is_monotone: bool
    is_fusible: bool
    is_gate: bool
    tag: str


#: By kind.
TRAITS: dict[str, Traits] = {
    "none": Traits("y", True, True, True, True, ""),
    **{
        kind: Traits(op.slope_from, op.maps_zero_to_zero, op.is_monotone, op.is_fusible, op.is_gate, op.tag)
        for kind, op in ACTIVATIONS.items()
    },
}


@dataclass(frozen=True)
class Activation:
    """y = f(z), f by `kind`: a key of TRAITS. alpha: the number of a kind that has one."""

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


def activation_of(op: Elementwise) -> Activation:
    """The activation that an op is."""
    return Activation(op.symbol, op.parameter)


def op_of(act: Activation) -> Elementwise:
    """The op that an activation is; not of "none"."""
    return entry_of(ACTIVATIONS, act.kind, "op").of_parameter(act.alpha)


def entry_of(table: Mapping[str, Entry], kind: str, what: str) -> Entry:
    """The entry of an activation's kind; raises ValueError where the table, which holds `what`, has none."""
    if kind not in table:
        raise ValueError(f"activation {kind!r} has no {what}; there are those of: {', '.join(table)}")
    return table[kind]
