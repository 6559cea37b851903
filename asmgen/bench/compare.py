"""Compares workloads in turn, A B A B ..., so that a machine whose speed drifts treats all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

_LEAST_CALLS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of one workload in every round, in order."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    def ratio_to(self, other: Timing) -> tuple[float, float, float]:
        """(median, least, largest) of self / other, round by round."""
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        return median(ratios), min(ratios), max(ratios)


def interleave(
    workloads: Mapping[str, Callable[[], float]], rounds: int, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Timing]:
    """Call each workload once a round; each returns its own seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for number in range(1, rounds + 1):
        for name, measure in workloads.items():
            progress(f"round {number}/{rounds}: {name}")
            seconds[name].append(measure())
    return {name: Timing(name, tuple(values)) for name, values in seconds.items()}


def median_seconds(fn: Callable[[], object], at_least: float) -> float:
    """The median of the calls that fit into about `at_least` seconds; the first call is not counted."""
    fn()
    calls: list[float] = []
    while len(calls) < _LEAST_CALLS or sum(calls) < at_least:
        began = time.perf_counter()
        fn()
        calls.append(time.perf_counter() - began)
    return median(calls)
