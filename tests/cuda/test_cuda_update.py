"""The optimizer kernels: every optimizer, with and without weight decay; less and more than one block."""

from __future__ import annotations

import pytest
from networks import make

from asmgen import AdamW, Dense, Flatten, Nesterov, ReLU, Tanh
from asmgen.cuda.target import CUDA
from asmgen.emit.cuda import emit_cuda_plan
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.harness.cuda.machine import CudaMachine
from asmgen.harness.steps import compare_steps
from asmgen.ops.optimizers import Optimizer
from asmgen.plan.build import build_plan
from asmgen.plan.policy import DenseSteps, Policy
from asmgen.plan.specs import Update
from asmgen.reference.initial import initial_parameters

KINDS = ("sgd", "momentum", "nesterov", "adam", "adamw")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    check_cuda_kernels(
        [
            Update(kind, dtype, lanes, n_vectors, 0.9, 0.9, 0.999, 1e-8, weight_decay)
            for kind in KINDS
            for n_vectors, weight_decay in ((1, 0.0), (67, 0.01))
        ]
    )


@pytest.mark.parametrize(
    "optimizer",
    [Nesterov(0.05, 0.8), AdamW(0.01, 0.8, 0.95, 1e-7, weight_decay=0.1)],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_stored_and_fused_steps_of_dense_layers_have_the_same_bits(optimizer: Optimizer) -> None:
    """Whole steps against the reference, emulated; one kernel sums, and update.j2 is the step of both forms."""
    layers = [Flatten(), Dense(9), ReLU(), Dense(7, bias=False), Tanh()]
    model = make(layers, 3, "softmax_ce", optimizer, dtype="float32")
    trained = []
    forms: tuple[DenseSteps, ...] = ("fused", "stored")
    for form in forms:
        plan = build_plan(model, CUDA.lanes("float32"), Policy(dense_steps=form))
        assert any(entry.spec.op == "dense_dw" for entry in plan.entries) == (form == "stored")
        machine = CudaMachine(plan, emit_cuda_plan(plan, "float32"))
        assert list(compare_steps(model, machine, initial_parameters(model), n_steps=3))
        trained.append(machine.parameters())
    fused, stored = trained
    assert all(value.tobytes() == stored[name].tobytes() for name, value in fused.items())
