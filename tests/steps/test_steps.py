"""Whole training steps on the kernels, every fusion x ISA x dtype, against the reference after every call."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from networks import EVERY_NETWORK, LOSSES, SOFTMAX_LOSSES, WEIGHTED_LOSSES, make, second_reader

from asmgen import (
    SGD,
    Adam,
    AdamW,
    AvgPool2D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Momentum,
    Nesterov,
    ReLU,
    Tanh,
)
from asmgen.asm.isa import ISAS
from asmgen.emit.generate import emit_plan
from asmgen.harness.machine import Machine
from asmgen.harness.steps import _pairs, compare_steps
from asmgen.plan.build import build_plan
from asmgen.plan.layout import Image
from asmgen.plan.plan import Entry
from asmgen.plan.policy import Policy
from asmgen.plan.specs import ConcatForward
from asmgen.plan.winograd import SIZES
from asmgen.reference.initial import initial_parameters
from asmgen.reference.interpret import Interpreter
from asmgen.tile.input.pixel_strip import reads_pixels

OPTIMIZERS = [
    SGD(0.05, weight_decay=0.01),
    Momentum(0.05, 0.8),
    Nesterov(0.05, 0.8, weight_decay=0.01),
    Adam(0.01, 0.8, 0.95, 1e-7),
    AdamW(0.01, 0.8, 0.95, 1e-7, weight_decay=0.1),
]


def test_one_input_of_a_concatenation_is_compared_alone():
    """What lies in the other channels may have come from anywhere."""
    x, y = Image(2, 3, 2, 2, 4, "float32"), Image(2, 7, 2, 2, 4, "float32")
    entry = Entry("forward", ConcatForward(x, y, 2), ("x", "y"), "", ("x", "y"), ("y",))
    ours, theirs = np.full((2, 7, 2, 2), np.nan), np.zeros((2, 7, 2, 2))
    ours[:, 2:5] = 1
    plan = SimpleNamespace(tensor=lambda name: SimpleNamespace(layout=y))
    machine = SimpleNamespace(plan=plan, read=lambda name: ours)
    ((name, got, expected),) = _pairs(entry, machine, SimpleNamespace(values={"y": theirs}))
    assert (name, got.shape, expected.shape) == ("y", (2, 3, 2, 2), (2, 3, 2, 2))
    assert (got == 1).all()


def compare(model, isa_name, **policy):
    isa = ISAS[isa_name]
    plan = build_plan(model, isa.lanes(model.dtype), Policy(reads_pixels=reads_pixels, **policy))
    machine = Machine(plan, isa, emit_plan(plan, isa))
    differences = list(compare_steps(model, machine, initial_parameters(model), n_steps=3))
    outputs = sum(len(entry.outputs) for entry in plan.entries)
    assert len(differences) >= outputs, "fewer comparisons than outputs"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", EVERY_NETWORK)
def test_every_fusion(network, dtype, isa):
    layers, outputs = EVERY_NETWORK[network]
    compare(make(layers, outputs, dtype=dtype), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", [[Flatten(), ReLU()], [ReLU(), MaxPool2D(2), Flatten()]], ids=["rows", "images"])
def test_relu_first(first, dtype, isa):
    """On pixels of which none is scaled to zero, where rounding would decide."""
    model = make([*first, Dense(5), Tanh()], 2, dtype=dtype)
    compare(dataclasses.replace(model, data=dataclasses.replace(model.data, mean=(0.4025, 0.5025))), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", ["conv_relu_maxpool", "windows_3_by_2", "gaps_and_rests", "windows_6x7"])
def test_stored_gradients_behind_max_pools(network, dtype, isa):
    layers, outputs = EVERY_NETWORK[network]
    compare(make(layers, outputs, dtype=dtype), isa, behind_max_pool=lambda conv, pool, has_dx: "stored")


@pytest.mark.parametrize("m", SIZES)
def test_winograd_with_padding_beyond_the_kernel(m, isa):
    """The input gradient of the second layer begins inside of its output's; over padding its ReLU finds exact zeros."""
    model = make([Conv2D(5, 3), ReLU(), Conv2D(6, 3, padding=(3, 9)), ReLU(), Flatten()], 2)
    compare(model, isa, algorithm=lambda conv, backward: (m if backward else 2) if conv.x.block > 1 else None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [*LOSSES, *WEIGHTED_LOSSES])
def test_every_loss(loss, dtype, isa):
    compare(make([Flatten(), Dense(5), Tanh()], 5, loss, softmax=loss in SOFTMAX_LOSSES, dtype=dtype), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_every_optimizer(optimizer, dtype, isa):
    compare(make([Flatten(), Dense(5), Tanh()], 3, "softmax_ce", optimizer, dtype=dtype), isa)


DENSE_BEHIND_CONV = [Conv2D(5, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(9), ReLU(), Dense(7, bias=False), Tanh()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_stored_dense_gradients(optimizer, dtype, isa):
    compare(make(DENSE_BEHIND_CONV, 3, "softmax_ce", optimizer, dtype=dtype), isa, dense_steps="stored")
    by_output = make([Flatten(), Dense(37), Tanh()], 3, "softmax_ce", optimizer, dtype=dtype)
    compare(by_output, isa, dense_steps="stored", dense_lanes=lambda spec, has_dx: "inputs" if has_dx else "outputs")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_stored_dense_gradient_among_fused_steps(dtype, isa, monkeypatch):
    monkeypatch.setattr("asmgen.plan.build.training_graph", second_reader("4.weight"))
    compare(make(DENSE_BEHIND_CONV, 3, "softmax_ce", Adam(0.01), dtype=dtype), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_stored_and_fused_steps_have_the_same_bits(optimizer, dtype, isa, monkeypatch):
    """The sums are emitted by one kernel, the steps by OptimizerStep; in "mixed" one gradient has a second reader."""
    model = make(DENSE_BEHIND_CONV, 3, "softmax_ce", optimizer, dtype=dtype)
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8)
    labels = rng.integers(0, 3, model.batch_size)
    start = {name: value.astype(dtype) for name, value in initial_parameters(model).items()}
    trained = {}
    for form, n_stored in {"fused": 0, "stored": 3, "mixed": 1}.items():
        with monkeypatch.context() as patch:
            if form == "mixed":
                patch.setattr("asmgen.plan.build.training_graph", second_reader("4.weight"))
            plan = build_plan(model, ISAS[isa].lanes(dtype), Policy(dense_steps=form if form == "stored" else "fused"))
        assert sum(entry.spec.op == "dense_dw" for entry in plan.entries) == n_stored
        machine, reference = Machine(plan, ISAS[isa], emit_plan(plan, ISAS[isa])), Interpreter(plan, start)
        machine.set_parameters(start)
        for _ in range(5):
            reference.begin_step(images, np.arange(model.batch_size), labels, model.batch_size, model.optimizer.lr)
            machine.poison()
            machine.begin_step(images, np.arange(model.batch_size), labels, model.batch_size, reference.values["hyper"])
            machine.run("forward", "backward", "update", "derive")
        trained[form] = machine.parameters()
    for name, value in trained["fused"].items():
        assert not np.array_equal(value, start[name])
        for form in ("stored", "mixed"):
            assert value.tobytes() == trained[form][name].tobytes(), (form, name)


def test_an_average_over_more_than_256_values(isa):
    layers = [Conv2D(5, 3), AvgPool2D(17), Flatten(), Dense(2)]
    compare(dataclasses.replace(make(layers, 2), input=(2, 20, 19), layers=layers), isa)


def test_a_network_that_is_sure(isa):
    """Softmax minus one-hot cancels: the gradient is all rounding, and that must not count."""
    layers = [
        Conv2D(48, 3, padding="same"),
        ReLU(),
        MaxPool2D(3),
        Conv2D(48, 3),
        ReLU(),
        AvgPool2D(2),
        Flatten(),
        Dense(2),
    ]
    model = dataclasses.replace(
        make(layers, 2, "softmax_ce", SGD(0.05), dtype="float32"), layers=layers, input=(2, 30, 30)
    )
    compare(model, isa)


@pytest.mark.parametrize("network", ["mlp", "conv_relu_maxpool", "residual", "concat", "flattened_and_vectors"])
def test_inference_of_fewer_samples_than_the_batch(network, isa):
    """Sample n of any number of them has the bits that it has in a whole batch, whatever lies behind it."""
    level, layers, outputs = ISAS[isa], *EVERY_NETWORK[network]
    model = make(layers, outputs, "softmax_ce", softmax=True, dtype="float32")
    plan = build_plan(model, level.lanes(model.dtype), Policy(reads_pixels=reads_pixels))
    machine = Machine(plan, level, emit_plan(plan, level))
    machine.set_parameters(initial_parameters(model))
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (3 * model.batch_size, *model.input)).astype(np.uint8)
    (*_, last) = plan.program("infer").entries
    found = []
    for present in range(1, model.batch_size + 1):
        indices = np.concatenate([np.arange(present), rng.integers(6, 18, model.batch_size - present)])
        machine.poison()
        machine.begin_step(images, indices, np.zeros(model.batch_size), present, (0.1, 0.1, 1.0))
        machine.run("infer")
        found.append(machine.read(last.outputs[0])[:present].copy())
        np.testing.assert_allclose(found[-1].sum(1), 1, rtol=1e-5)
    for present, probabilities in enumerate(found, start=1):
        assert np.array_equal(probabilities, found[-1][:present]), present
