"""The workloads of a comparison and the rows of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from asmgen.bench.compare import Timing, interleave

Measure = Callable[[int, float], float]  # (threads, at least so many seconds) -> seconds

#: What is measured -> how the table calls it.
WORKS = {
    "step": "training step",
    "inference": "inference, the model's batch",
    "latency": "inference, batch 1",
    "loops": "one product, by plain loops",
}


@dataclass(frozen=True)
class Workload:
    """Somebody who does `work`. kind: "asmgen", "exact" (a peer of the same precision), "bf16" or "loops"."""

    work: str
    name: str
    kind: str
    measure: Measure
    one_thread_only: bool = False

    def threads(self, asked: int) -> int:
        """How many it has where `asked` are measured."""
        return 1 if self.one_thread_only else asked


@dataclass(frozen=True)
class Row:
    """seconds: median of a unit of work. slower, least, largest: how many times asmgen's time, round by round.

    asmgen is the fastest of its rows with the same work and threads: `is_reference`. Who has only one thread, where
    ours have more, is beside our fewest.
    """

    work: str
    name: str
    kind: str
    threads: int
    seconds: float
    slower: float
    least: float
    largest: float
    is_reference: bool
    is_best_peer: bool


@dataclass(frozen=True)
class Scaling:
    """How many times faster a row is with `threads` than with `fewest`, round by round."""

    work: str
    name: str
    fewest: int
    threads: int
    faster: float
    least: float
    largest: float


def measure_all(
    workloads: Iterable[Workload],
    threads: Iterable[int],
    rounds: int,
    at_least: float,
    progress: Callable[[str], None],
) -> tuple[list[Row], list[Scaling]]:
    """Everything of one kind of work takes turns: all who do it, with every number of threads."""
    workloads, counts = list(workloads), sorted(set(threads))
    rows: list[Row] = []
    scalings: list[Scaling] = []
    for work in dict.fromkeys(workload.work for workload in workloads):
        slots = [
            (workload, count)
            for count in counts
            for workload in workloads
            if workload.work == work and (count == counts[0] or not workload.one_thread_only)
        ]
        named = {
            f"{work}, {workload.name}, {_threads_text(workload.threads(count))}": (
                lambda measure=workload.measure, count=count: measure(count, at_least)
            )
            for workload, count in slots
        }
        timings = list(interleave(named, rounds, progress).values())
        for count in dict.fromkeys(count for _, count in slots):
            rows += _rows(work, count, [(w, t) for (w, c), t in zip(slots, timings, strict=True) if c == count])
        scalings += _scalings([(w, c, t) for (w, c), t in zip(slots, timings, strict=True)])
    return rows, scalings


def _threads_text(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _rows(work: str, threads: int, measured: list[tuple[Workload, Timing]]) -> list[Row]:
    ours = [timing for workload, timing in measured if workload.kind == "asmgen"]
    exact = [timing for workload, timing in measured if workload.kind == "exact"]
    reference = min(ours, key=lambda timing: timing.median)
    best_peer = min(exact, key=lambda timing: timing.median, default=None)
    return [
        Row(
            work,
            workload.name,
            workload.kind,
            workload.threads(threads),
            timing.median,
            *timing.ratio_to(reference),
            timing is reference,
            timing is best_peer,
        )
        for workload, timing in measured
    ]


def _scalings(measured: list[tuple[Workload, int, Timing]]) -> list[Scaling]:
    found = []
    for workload, count, timing in measured:
        _, fewest, base = next(other for other in measured if other[0] is workload)
        if count != fewest:
            found.append(Scaling(workload.work, workload.name, fewest, count, *base.ratio_to(timing)))
    return found
