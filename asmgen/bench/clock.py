"""Times calls of kernels by the time stamp counter, without Python between them, and finds the core's own clock."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from asmgen.asm.isa import Isa
from asmgen.harness.library import load_library

#: (address of the kernel, rdi, rsi, rdx, rcx, begin, end)
Call = tuple[int, int, int, int, int, int, int]

CYCLES_PER_ROUND = 192
_CALIBRATION_SECONDS = 0.05
_N_SAMPLES = 7


class CallList:
    """Kernel calls to be made in order, as a table that timing.asm walks."""

    def __init__(self, calls: Sequence[Call], level: str) -> None:
        self._library = _library(level)
        self._n_calls = len(calls)
        self._table = (ctypes.c_uint64 * (7 * len(calls)))(*(word for call in calls for word in call))

    def seconds(self, n_passes: int) -> list[float]:
        """Seconds of each of `n_passes` passes over the list, denormals flushed as in the trainer."""
        ticks = (ctypes.c_uint64 * n_passes)()
        self._library.time_calls(self._table, ctypes.c_uint64(self._n_calls), ctypes.c_uint64(n_passes), ticks)
        return [count / ticks_per_second() for count in ticks]

    def sample(self, seconds: float) -> float:
        """Seconds of the fastest of as many passes as take about `seconds`; whatever else runs can only add to it."""
        once = max(self.seconds(2)[1], 1e-8)
        return min(self.seconds(max(1, round(seconds / once))))


def core_hertz(isa: Isa) -> float:
    """Clock of this core while it does vector work of this level, from the best of several samples."""
    library = _library(isa.name)
    rounds = 20_000
    ticks: list[int] = []
    for _ in range(_N_SAMPLES):
        began = library.read_clock()
        library.core_cycles(ctypes.c_uint64(rounds))
        ticks.append(library.read_clock() - began)
    return CYCLES_PER_ROUND * rounds * ticks_per_second() / min(ticks)


@cache
def ticks_per_second() -> float:
    """Rate of the time stamp counter, compared with the system's clock."""
    read: Callable[[], int] = _library("sse41").read_clock
    began, first = time.perf_counter(), read()
    while time.perf_counter() - began < _CALIBRATION_SECONDS:
        pass
    last, ended = read(), time.perf_counter()
    return (last - first) / (ended - began)


@cache
def _library(level: str) -> ctypes.CDLL:
    library = load_library([f"%define LEVEL {level}\n{Path(__file__).with_name('timing.asm').read_text()}"])
    library.read_clock.restype = ctypes.c_uint64
    return library
