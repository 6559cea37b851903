"""The FMA loop that nothing can beat, and rates beside it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.bench.clock import CallList, core_hertz
from asmgen.bench.compare import interleave
from asmgen.bench.direct import operand_bytes
from asmgen.harness.library import load_kernel
from asmgen.harness.peak import peak_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.specs import KernelSpec

_SETTLE_SECONDS = 0.004  # the clock that loads beside multiply-adds have lowered is up again: 1 to 2 ms, measured
_PEAK_SECONDS = 0.002
_SAMPLE_SECONDS = 0.005
_SAMPLES = 9


@dataclass(frozen=True)
class Rate:
    """seconds: median over the rounds; peak_share: median of the kernel's rate over the FMA loop's, round by round."""

    kernel: str
    seconds: float
    gflops: float
    peak_share: float


@dataclass(frozen=True)
class Peak:
    """The FMA loop of a level and dtype, and the core's clock while it does such work."""

    calls: CallList
    flops: int
    hertz: float

    @classmethod
    def of(cls, isa: Isa, dtype: str) -> Peak:
        listing = peak_kernel(isa, dtype)
        calls = CallList([(load_kernel(listing), 0, 0, 0, 0, 0, 0)], isa.name)
        return cls(calls, listing.facts.flops, core_hertz(isa))

    def rate(self, symbol: str, calls: CallList, flops: int, rounds: int) -> Rate:
        """Time `calls` in turn with the loop."""
        timings = interleave({"peak": self._sample, "kernel": lambda: calls.sample(_SAMPLE_SECONDS)}, rounds)
        kernel = timings["kernel"]
        share = timings["peak"].ratio_to(kernel)[0] * flops / self.flops
        return Rate(symbol, kernel.median, flops / kernel.median / 1e9, share)

    def gflops(self) -> float:
        """Of the loop, now: the median of several times, since a core that has just begun with it has another clock."""
        return self.flops / median(self._sample() for _ in range(_SAMPLES)) / 1e9

    def _sample(self) -> float:
        """Seconds of a call of the loop, at the clock that the loop has by itself."""
        self.calls.sample(_SETTLE_SECONDS)
        return self.calls.sample(_PEAK_SECONDS)

    def direct(self, spec: KernelSpec, isa: Isa, rounds: int) -> Rate:
        """Of a direct convolution kernel by itself, on random operands."""
        listing = emit_kernel(spec, isa)
        rng = np.random.default_rng(0)
        operands = [_operand(size, listing.dtype, rng) for size in operand_bytes(spec)]
        a, b, c, d = (*(operand.ctypes.data for operand in operands), 0, 0)[:4]
        calls = CallList([(load_kernel(listing), a, b, c, d, 0, spec.slice_units())], isa.name)
        return self.rate(listing.symbol, calls, spec.flops(), rounds)


def _operand(size_bytes: int, dtype: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Numbers in [-1, 1) on a cache line's boundary."""
    memory = np.zeros(size_bytes + LINE_BYTES, np.uint8)
    begin = -memory.ctypes.data % LINE_BYTES
    view = memory[begin : begin + size_bytes]
    whole = size_bytes // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize
    values = view[:whole].view(dtype)
    values[:] = rng.uniform(-1, 1, values.size)
    return view
