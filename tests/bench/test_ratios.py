"""Keeps the kernels from rotting: their rates, as shares of the FMA loop's of the same moment, beside recorded shares.

No clock is involved. A share is the best of several attempts, whatever else the machine does, and fails below LEAST of
what was recorded on this kind of CPU, or LEAST_ELSEWHERE of what another kind has. Kernels that skip work are measured
by the operations of the direct ones, so their shares may exceed 1. Better kernels, another kind of CPU, or more kernels
in shares.json (null: to be measured): run this file with --update-shares on a quiet machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.bench.clock import CallList
from asmgen.bench.kernels import StepMachine, step_machine
from asmgen.bench.peak import Peak
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.peers.naive import is_product
from asmgen.plan.build import build_plan
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.policy import Policy
from asmgen.toolchain.cpu import cpu_kind

#: {"cpu": kind, plan: {"layer forward | dx | dw": {level: share}}}
SHARES = Path(__file__).with_name("shares.json")
LEAST, LEAST_ELSEWHERE = 0.75, 0.4  # of the recorded share
ATTEMPTS = 8
PAUSE = 0.3  # seconds before another attempt: a busy neighbour comes and goes
ROUNDS = 3
RECORDED_ATTEMPTS = 24


def direct_plan(model: Model, isa: Isa) -> Plan:
    """Without Winograd's algorithm and without lists of live entries."""
    return build_plan(model, isa.lanes(model.dtype), Policy(behind_max_pool=lambda conv, pool, has_dx: "stored"))


def shipped(name: str, dtype: str = "float32", **settings: str) -> Model:
    return replace(load_model(f"models/{name}.py", settings), dtype=dtype)


small_catdog = partial(shipped, "catdog", size="64", batch="2")
PLANS = {
    "catdog": (small_catdog, plan_for),
    "catdog, direct": (small_catdog, direct_plan),
    "catdog, float64": (partial(small_catdog, dtype="float64"), plan_for),
    "vgg_small": (partial(shipped, "vgg_small", batch="2"), plan_for),
    "lenet": (partial(shipped, "lenet"), plan_for),
    "lenet, float64": (partial(shipped, "lenet", "float64"), plan_for),
    "mnist_mlp": (partial(shipped, "mnist_mlp"), plan_for),
    "mnist_mlp, float64": (partial(shipped, "mnist_mlp", "float64"), plan_for),
}


def kernel_of(entry: Entry) -> str:
    """ "dx" or "dw" as the op says, whichever algorithm computes it."""
    way = entry.phase if entry.phase == "forward" else "dw" if "_dw" in entry.text else "dx"
    return f"{entry.layer} {way}"


def measure(machine: StepMachine, peak: Peak, wanted: set[str]) -> Iterator[tuple[str, float]]:
    """The share of each wanted kernel, at its place in a step."""
    for entry in machine.plan.entries:
        if is_product(entry) and kernel_of(entry) in wanted:
            calls = CallList([machine.call_of(entry)], machine.isa.name)
            with machine.unchanged(entry):
                rate = peak.rate(entry.spec.stem(), calls, entry.spec.flops(), ROUNDS)
            yield kernel_of(entry), rate.peak_share
        machine.execute(entry)


class Bench:
    """The kernels of a plan on one level."""

    def __init__(self, name: str, isa: Isa) -> None:
        source, planned = PLANS[name]
        self._model = source()
        self._plan = planned(self._model, isa)
        self._isa, self._listings = isa, emit_plan(self._plan, isa)
        self._peak = Peak.of(isa, self._model.dtype)

    def shares(self, wanted: set[str]) -> dict[str, float]:
        machine = step_machine(self._model, self._plan, self._isa, self._listings)
        return dict(measure(machine, self._peak, wanted))


@pytest.mark.parametrize("name", PLANS)
def test_kernels_keep_their_share_of_the_peak(name, isa, request):
    bench, recorded = Bench(name, ISAS[isa]), json.loads(SHARES.read_text())
    if request.config.getoption("--update-shares"):
        record(recorded, name, isa, [bench.shares(set(recorded[name])) for _ in range(RECORDED_ATTEMPTS)])
        return
    assert all(shares and isa in shares for shares in recorded[name].values()), "not yet measured: --update-shares"
    least = LEAST if recorded["cpu"] == cpu_kind() else LEAST_ELSEWHERE
    limits = {kernel: least * shares[isa] for kernel, shares in recorded[name].items()}
    best = dict.fromkeys(limits, 0.0)
    for attempt in range(ATTEMPTS):
        slow = {kernel for kernel, limit in limits.items() if best[kernel] < limit}
        if not slow:
            return
        time.sleep(PAUSE if attempt else 0)
        found = bench.shares(slow)
        assert found.keys() == slow, "the plan has no kernel for what was recorded"
        best |= {kernel: max(best[kernel], share) for kernel, share in found.items()}
    slow = {
        kernel: (round(best[kernel], 2), round(limit, 2)) for kernel, limit in limits.items() if best[kernel] < limit
    }
    assert not slow, "share of the FMA peak, and the least that is accepted of this kind of CPU"


def record(recorded: dict, name: str, isa: str, attempts: list[dict[str, float]]) -> None:
    """The upper quartile: the median of the undisturbed half, which no lucky attempt decides."""
    for kernel, shares in recorded[name].items():
        share = float(np.quantile([attempt[kernel] for attempt in attempts], 0.75))
        known = {**(shares or {}), isa: round(share, 2)}
        recorded[name][kernel] = {level: known[level] for level in ISAS if level in known}
    plans = [
        f' "{plan}": {{\n'
        + ",\n".join(f'  "{kernel}": {json.dumps(shares)}' for kernel, shares in recorded[plan].items())
        + "\n }"
        for plan in PLANS
    ]
    SHARES.write_text(",\n".join([f'{{\n "cpu": "{cpu_kind()}"', *plans]) + "\n}\n")
