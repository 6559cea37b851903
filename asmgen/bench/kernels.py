"""Every kernel of a plan beside the FMA loop of the same moment: time, rate, share of the peak, prediction.

The kernels work on what a step of random images really leaves for them (sparse kernels depend on that), each called
again and again at its place in the step, so its tensors are as near as their size allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.bench.clock import Call, CallList
from asmgen.bench.direct import direct_spec
from asmgen.bench.peak import Peak, Rate
from asmgen.harness.library import address
from asmgen.harness.machine import Machine
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.plan import specs
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.specs import KernelSpec
from asmgen.reference.initial import initial_parameters
from asmgen.tile.candidates import predicted_cycles
from asmgen.tile.cost import LIVE_SHARE

_HYPER = (1e-30, 1e-30, 1.0)  # steps that change nothing


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


class StepMachine(Machine):
    """A machine whose kernels can be timed."""

    def call_of(self, entry: Entry, fn: int | None = None) -> Call:
        """The call of an entry over its whole slice. fn: of another kernel with its arguments."""
        a, b, c, d = (*(self._pointer(name) for name in entry.args), 0, 0, 0, 0)[:4]
        if fn is None:
            fn = address(self._library, entry.spec.symbol(self.isa.name))
        return fn, a, b, c, d, 0, entry.spec.slice_units()

    @contextmanager
    def unchanged(self, entry: Entry) -> Iterator[None]:
        """Gives the outputs of an entry back as they were: what works in place goes over them many times."""
        before = [(name, self.bytes(name).copy()) for name in entry.outputs]
        yield
        for name, content in before:
            self.bytes(name)[:] = content


def step_machine(model: Model, plan: Plan, isa: Isa, listings: dict[str, Listing]) -> StepMachine:
    """At the beginning of a step: initial parameters, random images."""
    machine = StepMachine(plan, isa, listings)
    machine.set_parameters(initial_parameters(model))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (plan.batch, *model.input)).astype(np.uint8)
    labels = rng.integers(0, classes_of(model), plan.batch)
    machine.begin_step(images, np.arange(plan.batch), labels, plan.batch, _HYPER)
    return machine


def kernel_rows(
    model: Model,
    plan: Plan,
    isa: Isa,
    listings: dict[str, Listing],
    peak: Peak,
    rounds: int,
    progress: Callable[[str], None] = lambda _: None,
    wanted: Callable[[Entry], bool] = lambda _: True,
    machine: StepMachine | None = None,
) -> Iterator[KernelRow]:
    """A row for each distinct kernel that is wanted, while `machine` does the step (default: a `step_machine`)."""
    machine = machine or step_machine(model, plan, isa, listings)
    seen: set[KernelSpec] = set()
    live: dict[str, float] = {}
    for entry in plan.all_entries:
        _note_live_share(machine, entry, live)
        if entry.spec not in seen and wanted(entry):
            seen.add(entry.spec)
            listing = listings[entry.spec.symbol(isa.name)]
            progress(f"kernel {len(seen)}/{len(listings)}: {listing.symbol}")
            yield _row(machine, entry, listing, peak, rounds, live)
        machine.execute(entry)


def _note_live_share(machine: StepMachine, entry: Entry, live: dict[str, float]) -> None:
    """live[list or dw] = the share of dy that is not zero, where `entry` makes either of dy; dy may not last."""
    match entry.spec:
        case specs.LiveEntries():
            dy = entry.args[0]
        case specs.Conv2dBackwardWeightsSparse():
            dy = entry.args[1]
        case _:
            return
    assert dy is not None
    values = machine.read(dy)
    live[entry.outputs[0]] = np.count_nonzero(values) / values.size


def _row(
    machine: StepMachine, entry: Entry, listing: Listing, peak: Peak, rounds: int, live: dict[str, float]
) -> KernelRow:
    spec, facts = entry.spec, listing.facts
    with machine.unchanged(entry):
        rate = peak.rate(listing.symbol, CallList([machine.call_of(entry)], machine.isa.name), spec.flops(), rounds)
    direct = direct_spec(spec, machine.isa, listing)
    live_share = next((live[name] for name in (*entry.outputs, *entry.args) if name in live), LIVE_SHARE)
    uses = [other for other in machine.plan.all_entries if other.spec == spec]
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
        predicted_cycles=predicted_cycles(spec, machine.isa, listing, live_share),
        is_effective=direct is not None,
        direct=None if direct is None else peak.direct(direct, machine.isa, rounds),
    )
