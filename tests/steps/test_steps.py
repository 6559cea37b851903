"""Whole training steps on the kernels, every fusion x ISA x dtype, against the reference after every call."""

from __future__ import annotations

import pytest
from networks import LOSSES, NETWORKS, make

from asmgen import SGD, Adam, AdamW, Dense, Flatten, Momentum, Nesterov, Tanh
from asmgen.asm.isa import ISAS
from asmgen.emit.generate import emit_plan
from asmgen.harness.steps import compare_steps
from asmgen.plan.build import build_plan
from asmgen.reference.initial import initial_parameters

OPTIMIZERS = [
    SGD(0.05, weight_decay=0.01),
    Momentum(0.05, 0.8),
    Nesterov(0.05, 0.8, weight_decay=0.01),
    Adam(0.01, 0.8, 0.95, 1e-7),
    AdamW(0.01, 0.8, 0.95, 1e-7, weight_decay=0.1),
]


def compare(model, isa_name):
    isa = ISAS[isa_name]
    plan = build_plan(model, isa.lanes(model.dtype))
    listings = emit_plan(plan, isa)
    differences = list(compare_steps(model, plan, isa, listings, initial_parameters(model), n_steps=3))
    outputs = sum(len(entry.outputs) for entry in plan.entries)
    assert len(differences) >= outputs, "fewer comparisons than outputs"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_fusion(network, dtype, isa):
    layers, outputs = NETWORKS[network]
    compare(make(layers, outputs, dtype=dtype), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss, dtype, isa):
    compare(make([Flatten(), Dense(5), Tanh()], 5, loss, softmax=loss == "softmax_ce", dtype=dtype), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_every_optimizer(optimizer, dtype, isa):
    compare(make([Flatten(), Dense(5), Tanh()], 3, "softmax_ce", optimizer, dtype=dtype), isa)
