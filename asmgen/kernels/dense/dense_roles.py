"""Which of x and dy gives the lanes of a dense weight gradient, and which the factors that are broadcast."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import DenseWeightsByOutput, Rows
from asmgen.plan.specs import DenseWeightGradient


@dataclass(frozen=True)
class Role:
    """x or dy as an operand. index: k or o, the feature of its rows; plural: what these are."""

    name: str
    rows: Rows
    index: str
    plural: str


@dataclass(frozen=True)
class Roles:
    """g[factor][lane] = sum_n factors[n][factor] * lanes[n][lane], in quads of factors."""

    factors: Role
    lanes: Role

    @property
    def gradient(self) -> str:
        return f"g[{self.factors.index}][{self.lanes.index}]"


def roles(spec: DenseWeightGradient) -> Roles:
    """Lanes are inputs or outputs, as in the weights."""
    x, dy = Role("x", spec.x, "k", "inputs"), Role("dy", spec.dy, "o", "outputs")
    return Roles(x, dy) if isinstance(spec.weights, DenseWeightsByOutput) else Roles(dy, x)
