"""Every kernel of a plan beside the FMA loop of the same moment: time, rate, share of the peak, prediction.

The kernels work on what a step of random images really leaves for them (sparse kernels depend on that), each called
again and again at its place in the step, so its tensors are as near as their size allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.bench.clock import Call, CallList, core_hertz
from asmgen.bench.compare import interleave
from asmgen.bench.direct import direct_spec, operand_bytes
from asmgen.harness.library import address, load_kernel
from asmgen.harness.machine import Machine
from asmgen.harness.peak import peak_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.model.network import Model
from asmgen.model.shapes import classes_of
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.specs import KernelSpec
from asmgen.reference.initial import initial_parameters
from asmgen.tile.cost import predicted_cycles

_PEAK_SECONDS = 0.002
_SAMPLE_SECONDS = 0.005
_HYPER = (1e-30, 1e-30, 1.0)  # steps that change nothing


@dataclass(frozen=True)
class Rate:
    """seconds: median over the rounds; peak_share: median of the kernel's rate over the FMA loop's, round by round."""

    kernel: str
    seconds: float
    gflops: float
    peak_share: float


@dataclass(frozen=True)
class KernelRow:
    """One kernel. is_effective: its rate counts the operations of the direct kernel, measured beside it as `direct`."""

    kernel: str
    phase: str
    layers: str
    op: str
    calls: int
    seconds: float
    gflops: float
    peak_share: float
    gbytes_per_second: float
    cycles: float
    predicted_cycles: float
    is_effective: bool
    direct: Rate | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


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
        timings = interleave(
            {"peak": lambda: self.calls.sample(_PEAK_SECONDS), "kernel": lambda: calls.sample(_SAMPLE_SECONDS)}, rounds
        )
        kernel = timings["kernel"]
        share = timings["peak"].ratio_to(kernel)[0] * flops / self.flops
        return Rate(symbol, kernel.median, flops / kernel.median / 1e9, share)


class _StepMachine(Machine):
    """A machine whose kernels can be timed."""

    def call_of(self, entry: Entry) -> Call:
        a, b, c, d = (*(self._pointer(name) for name in entry.args), 0, 0, 0, 0)[:4]
        fn = address(self._library, entry.spec.symbol(self.isa.name))
        return fn, a, b, c, d, 0, entry.spec.slice_units()


def kernel_rows(
    model: Model,
    plan: Plan,
    isa: Isa,
    listings: dict[str, Listing],
    rounds: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[KernelRow]:
    """A row for each distinct kernel, in the order of the step."""
    machine = _StepMachine(plan, isa, listings)
    machine.set_parameters(initial_parameters(model))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (plan.batch, *model.input)).astype(np.uint8)
    labels = rng.integers(0, classes_of(model), plan.batch)
    machine.begin_step(images, np.arange(plan.batch), labels, plan.batch, _HYPER)
    peak = Peak.of(isa, plan.dtype)
    seen: set[KernelSpec] = set()
    for entry in plan.entries:
        if entry.spec not in seen:
            seen.add(entry.spec)
            listing = listings[entry.spec.symbol(isa.name)]
            progress(f"kernel {len(seen)}/{len(listings)}: {listing.symbol}")
            yield _row(machine, entry, listing, peak, rounds)
        machine.execute(entry)


def _row(machine: _StepMachine, entry: Entry, listing: Listing, peak: Peak, rounds: int) -> KernelRow:
    spec, facts = entry.spec, listing.facts
    before = [(name, machine.bytes(name).copy()) for name in entry.outputs]
    rate = peak.rate(listing.symbol, CallList([machine.call_of(entry)], machine.isa.name), spec.flops(), rounds)
    for name, content in before:  # what works in place has gone over it many times
        machine.bytes(name)[:] = content
    direct = direct_spec(spec)
    uses = [other for other in machine.plan.entries if other.spec == spec]
    return KernelRow(
        kernel=listing.symbol,
        phase=entry.phase,
        layers=", ".join(dict.fromkeys(use.layer for use in uses)),
        op=entry.text,
        calls=len(uses),
        seconds=rate.seconds,
        gflops=rate.gflops,
        peak_share=rate.peak_share,
        gbytes_per_second=(facts.bytes_read + facts.bytes_written) / rate.seconds / 1e9,
        cycles=rate.seconds * peak.hertz,
        predicted_cycles=predicted_cycles(facts, machine.isa, listing.dtype),
        is_effective=direct is not None,
        direct=None if direct is None else spec_rate(direct, machine.isa, peak, rounds),
    )


def spec_rate(spec: KernelSpec, isa: Isa, peak: Peak, rounds: int) -> Rate:
    """Of a direct convolution kernel by itself, on random operands."""
    listing = emit_kernel(spec, isa)
    rng = np.random.default_rng(0)
    operands = [_operand(size, listing.dtype, rng) for size in operand_bytes(spec)]
    a, b, c, d = (*(operand.ctypes.data for operand in operands), 0, 0)[:4]
    calls = CallList([(load_kernel(listing), a, b, c, d, 0, spec.slice_units())], isa.name)
    return peak.rate(listing.symbol, calls, spec.flops(), rounds)


def _operand(size_bytes: int, dtype: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Numbers in [-1, 1) on a cache line's boundary."""
    memory = np.zeros(size_bytes + LINE_BYTES, np.uint8)
    begin = -memory.ctypes.data % LINE_BYTES
    view = memory[begin : begin + size_bytes]
    whole = size_bytes // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize
    values = view[:whole].view(dtype)
    values[:] = rng.uniform(-1, 1, values.size)
    return view
