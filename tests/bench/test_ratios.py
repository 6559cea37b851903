"""Keeps the kernels from rotting: their rates, as shares of the FMA loop's of the same moment, beside recorded shares.

No clock is involved. A share is the best of several attempts, whatever else the machine does, and fails below half of
what was recorded. Kernels that skip work are measured by the operations of the direct ones, so their shares may exceed
1. Better kernels: run `asmgen bench MODEL --kernels` on a quiet machine, and raise the numbers here.
"""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.bench.kernels import kernel_rows
from asmgen.bench.naive import is_product
from asmgen.bench.peak import Peak
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.plan.build import build_plan
from asmgen.plan.plan import Plan
from asmgen.plan.policy import Policy

ATTEMPTS = 4
ROUNDS = 3
LEAST = 0.5  # of the recorded share

CATDOG = "models/catdog.py", {"size": "64", "batch": "2"}
MLP = "models/mnist_mlp.py", {}


def direct_plan(model: Model, isa: Isa) -> Plan:
    """Without Winograd's algorithm and without lists of live entries."""
    return build_plan(model, isa.lanes(model.dtype), Policy(behind_max_pool=lambda conv, pool, has_dx: "stored"))


PLANS = {"catdog": (CATDOG, plan_for), "catdog, direct": (CATDOG, direct_plan), "mnist_mlp": (MLP, plan_for)}

#: plan, layer, direction: share by level (sse41, avx2, avx512).
RECORDED = [
    ("catdog", "conv1", "forward", (0.80, 0.91, 0.82)),
    ("catdog", "conv1", "dw", (0.73, 0.86, 0.83)),
    ("catdog", "conv2", "forward", (3.0, 2.8, 2.5)),
    ("catdog", "conv2", "dx", (4.0, 3.9, 3.6)),
    ("catdog", "conv2", "dw", (4.8, 4.1, 2.8)),
    ("catdog, direct", "conv2", "forward", (0.84, 0.93, 0.91)),
    ("catdog, direct", "conv2", "dx", (0.82, 0.96, 0.94)),
    ("catdog, direct", "conv2", "dw", (0.82, 0.95, 0.91)),
    ("mnist_mlp", "dense1", "forward", (0.93, 0.92, 0.76)),
    ("mnist_mlp", "dense1", "dw", (0.68, 0.69, 0.54)),
    ("mnist_mlp", "dense2", "dx", (0.80, 0.95, 0.94)),
]


def direction(entry) -> str:
    """ "dx" or "dw" as the op says, whichever algorithm computes it."""
    return entry.phase if entry.phase == "forward" else "dw" if "_dw" in entry.text else "dx"


@pytest.mark.parametrize("name", PLANS)
def test_kernels_keep_their_share_of_the_peak(name, isa):
    level = list(ISAS).index(isa)
    limits = {(layer, way): shares[level] * LEAST for plan, layer, way, shares in RECORDED if plan == name}
    source, planned = PLANS[name]
    model = load_model(*source)
    plan = planned(model, ISAS[isa])
    listings = emit_plan(plan, ISAS[isa])
    keys = {entry.spec: (entry.layer, direction(entry)) for entry in plan.entries if is_product(entry)}
    assert limits.keys() <= set(keys.values()), "the plan has no kernel for what was recorded"
    best: dict[tuple[str, str], float] = {}
    for _ in range(ATTEMPTS):
        slow = {key for key, limit in limits.items() if best.get(key, 0.0) < limit}
        if not slow:
            return
        wanted = {spec.symbol(isa): key for spec, key in keys.items() if key in slow}
        rows = kernel_rows(
            model, plan, ISAS[isa], listings, Peak.of(ISAS[isa], model.dtype), ROUNDS,
            wanted=lambda entry, slow=slow: keys.get(entry.spec) in slow,
        )  # fmt: skip
        for row in rows:
            key = wanted[row.kernel]
            best[key] = max(best.get(key, 0.0), row.peak_share)
    slow = {key: (round(best[key], 2), round(limit, 2)) for key, limit in limits.items() if best[key] < limit}
    assert not slow, "share of the FMA peak, and the least that is accepted"
