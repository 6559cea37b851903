"""How fast this core computes at best, measured in this process, and how close a kernel comes.

python -m asmgen.harness.peak                       the peaks of every level that this CPU has
python -m asmgen.harness.peak "<spec>" avx512       one kernel on random data
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.cases.build import build_cases
from asmgen.harness.check import Emit, registered_emitter
from asmgen.harness.compare import parse_spec
from asmgen.harness.library import load_kernel
from asmgen.plan.specs import KernelSpec
from asmgen.toolchain.cpu import cpu_features, missing_features

_N_CHAINS = 12  # independent: more than latency times ports on every core this runs on
_N_ROUNDS = 64
_N_SAMPLES = 7
_KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * 6)


@dataclass(frozen=True)
class Rate:
    """A kernel's median time over its whole slice, and its rate beside the peak of its level and dtype."""

    symbol: str
    seconds: float
    flops_per_second: float
    peak_flops_per_second: float

    def __str__(self) -> str:
        share = self.flops_per_second / self.peak_flops_per_second
        return (
            f"{self.symbol}: {self.seconds * 1e6:.1f} us, {self.flops_per_second / 1e9:.1f} GFLOPS, {share:.0%} of peak"
        )


def measure(fn: Callable[[], object], seconds: float = 0.2) -> float:
    """Seconds a call: the median of samples that together take about `seconds`; the first call is not counted."""
    return statistics.median(_samples(fn, seconds))


def _samples(fn: Callable[[], object], seconds: float) -> list[float]:
    """Seconds a call, several times."""
    fn()
    began = time.perf_counter()
    fn()
    once = max(time.perf_counter() - began, 1e-7)
    n_calls = max(1, round(seconds / _N_SAMPLES / once))
    samples = []
    for _ in range(_N_SAMPLES):
        began = time.perf_counter()
        for _ in range(n_calls):
            fn()
        samples.append((time.perf_counter() - began) / n_calls)
    return samples


def bind(fn: int, pointers: Sequence[int], begin: int, end: int) -> Callable[[], object]:
    """A call of the kernel at address `fn` without supervision, for timing."""
    function = _KERNEL(fn)
    args = [*pointers, *[0] * (4 - len(pointers)), begin, end]
    return lambda: function(*args)


def peak_flops(isa: Isa, dtype: str, seconds: float = 0.1) -> float:
    """Floating point operations a second of one core from registers: FMA, or multiply and add where there is none.

    The best sample counts: whatever else the core does can only make it slower.
    """
    listing = peak_kernel(isa, dtype)
    return listing.facts.flops / min(_samples(bind(load_kernel(listing), [], 0, 0), seconds))


def kernel_rate(spec: KernelSpec, isa: Isa, seconds: float = 0.2, emit: Emit = registered_emitter) -> Rate:
    """Time a kernel over its whole slice on uniform random data, caches as warm as its tensors allow."""
    listing = emit(spec, isa)
    case = build_cases(spec, "uniform", 0)[0]
    buffers = [GuardedBuffer(operand.before, operand.align) if operand else None for operand in case.operands]
    pointers = [buffer.address if buffer else 0 for buffer in buffers]
    took = measure(bind(load_kernel(listing), pointers, 0, spec.slice_units()), seconds)
    return Rate(listing.symbol, took, spec.flops() / took, peak_flops(isa, listing.dtype))


def peak_kernel(isa: Isa, dtype: str) -> Listing:
    """The loop that nothing can beat: independent chains of FMA, or of multiply and add, from registers alone."""
    asm = Assembler(isa, dtype, f"peak_{np.dtype(dtype).name}_{isa.name}")
    with asm:
        asm.release_arguments()
        chains = [asm.vec.alloc(f"chain[{i}]") for i in range(_N_CHAINS)]
        factor = asm.vec.alloc("factor")
        for register in (*chains, factor):
            asm.v.zero(register)
        with asm.loop("round", 1000):
            for i in range(_N_ROUNDS * _N_CHAINS):
                chain = chains[i % _N_CHAINS]
                if isa.has_fma:
                    asm.v.fma(chain, factor, factor)
                elif i % 2:
                    asm.v.add(chain, chain, factor)
                else:
                    asm.v.mul(chain, chain, factor)
    flops = 1000 * _N_ROUNDS * _N_CHAINS * asm.lanes * (2 if isa.has_fma else 1)
    return asm.finish(Facts("peak", "asmgen/harness/peak.py", (), (), "nothing", flops, 0, 0, f"{_N_CHAINS} chains"))


def main() -> None:
    """Print peaks, or the rate of the spec on the command line."""
    if len(sys.argv) > 2:
        print(kernel_rate(parse_spec(sys.argv[1]), ISAS[sys.argv[2]]))
        return
    for isa in ISAS.values():
        if not missing_features(isa.name, cpu_features()):
            for dtype in ("float32", "float64"):
                print(f"{isa.name} {dtype}: {peak_flops(isa, dtype) / 1e9:.1f} GFLOPS")


if __name__ == "__main__":
    main()
