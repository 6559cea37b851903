"""What a kernel left in memory against what a case expects: on every target the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asmgen.errors import AsmgenError
from asmgen.harness.cases.case import Array, Case, Expected
from asmgen.plan import layout, specs
from asmgen.plan.specs import KernelSpec


class KernelError(AsmgenError):
    """A kernel broke its contract; the message ends in the command that repeats the check."""


@dataclass(frozen=True)
class Report:
    """What a check compared. worst: largest error in units of its bound; errors are against the float64 reference."""

    symbol: str
    n_values: int
    worst: float
    max_error: float
    max_relative_error: float  # of an output's largest error to its largest value


def same_bits(a: Array, b: Array) -> bool:
    return bool(np.array_equal(words(a), words(b)))


def words(array: Array) -> Array:
    """The array's bytes in pieces as large as its element."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.itemsize}")


def differences(case: Case, a: Sequence[Array], b: Sequence[Array]) -> list[str]:
    """Names of the outputs whose bits differ."""
    return [
        operand.name
        for operand, left, right in zip(case.operands, a, b, strict=True)
        if operand and operand.is_output and not same_bits(left, right)
    ]


def in_bounds(error: Array, bound: Array | float) -> Array:
    """error / bound; 0 for an exact value, inf for a wrong one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = error / np.broadcast_to(bound, error.shape)
    return np.where(error == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def compare(expected: Expected, memory: list[Array]) -> tuple[Array, list[str]]:
    """(each element's error, infinite for NaN; nothing, or what is wrong). memory: the operands after the call."""
    got = expected.unpack(memory[expected.operand]).astype(np.float64)
    error = np.abs(got - expected.value)
    bound = np.broadcast_to(expected.bound, error.shape)
    bad = ~(error <= bound)
    if not bad.any():
        return error, []
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    text = (
        f"{expected.name}: {int(bad.sum())} of {bad.size} wrong ({int(np.isnan(got).sum())} NaN), first at {at}: "
        f"{got[at]!r}, expected {expected.value[at]!r} within {float(bound[at]):.3g}"
    )
    return np.where(np.isnan(error), np.inf, error), [text.replace("np.float64", "")]


class Tally:
    """Judges a kernel case by case and adds up its errors."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.n_values, self.worst, self.max_error, self.max_relative = 0, 0.0, 0.0, 0.0

    def judge(self, case: Case, memory: list[Array]) -> list[str]:
        """What is wrong with the memory after a call."""
        problems: list[str] = []
        for expected in case.expected:
            error, wrong = compare(expected, memory)
            problems += wrong
            self.n_values += expected.value.size
            self.worst = max(self.worst, float(np.max(in_bounds(error, expected.bound))))
            self.max_error = max(self.max_error, float(error.max()))
            scale = float(np.abs(expected.value).max())
            self.max_relative = max(self.max_relative, float(error.max()) / scale if scale else 0.0)
        for check in case.checks:
            problems += list(check(memory))
        return problems

    def report(self) -> Report:
        """Raises KernelError where nothing was compared."""
        if self.n_values == 0:
            raise KernelError(f"{self.symbol}: nothing was checked")
        return Report(self.symbol, self.n_values, self.worst, self.max_error, self.max_relative)


def parse_spec(text: str) -> KernelSpec:
    """A spec from its repr."""
    spec = eval(text, {**vars(specs), **vars(layout)})
    assert isinstance(spec, KernelSpec)
    return spec
