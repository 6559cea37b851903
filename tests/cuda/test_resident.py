"""Resident training: the decision, and whole emulated trainers beside the CPU trainers of the same models."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from asmgen import (
    ELU,
    SGD,
    Adam,
    AdamW,
    BinaryCrossEntropy,
    Dataset,
    Dense,
    Flatten,
    Huber,
    LeakyReLU,
    MeanAbsoluteError,
    MeanSquaredError,
    Model,
    Nesterov,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
)
from asmgen.cli.main import main
from asmgen.cuda.resident import resident_choice, resident_kernel
from asmgen.cuda.resident.resident import Refusal, Resident
from asmgen.cuda.resident.resident_choice import decide
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model
from asmgen.plan.build import build_plan
from asmgen.plan.policy import Policy
from asmgen.toolchain import nvcc
from asmgen.toolchain.cuda_build import CUDA_RUNTIME
from tests.cuda.test_trainer import LOSS_TOLERANCE, STEPS, rows, timeless
from tests.cuda.trainers import BY_LAUNCHES, Pair, build_pair, run

MODELS = Path(__file__).parents[2] / "models"
DOTS = Dataset("dots", scale=1 / 255)

#: (cluster, model): every optimizer, loss and activation, both types, incomplete batches, widths that no tile divides.
NETWORKS = {
    model.name: (cluster, model)
    for cluster, model in (
        (
            1,
            Model(
                name="alone", input=(1, 6, 5), layers=[Flatten(), Dense(20), ReLU(), Dense(4)],
                loss=SoftmaxCrossEntropy(label_smoothing=0.1), optimizer=Adam(lr=0.01, lr_decay=0.9), batch_size=8,
                epochs=2, seed=3, data=replace(DOTS, validation=("train", 30, 41)),
            ),
        ),
        (
            4,
            Model(
                name="four", input=(1, 6, 6),
                layers=[
                    Flatten(), Dense(37), LeakyReLU(0.1), Dense(18), Tanh(), Dense(9), ELU(0.5), Dense(9), Scale(1.5),
                    Dense(9), ReLU6(), Dense(9), Dense(3),
                ],
                loss=SoftmaxCrossEntropy(), optimizer=Nesterov(lr=0.02, momentum=0.8, weight_decay=0.01), batch_size=19,
                epochs=2, seed=1, data=DOTS,
            ),
        ),
        (
            2,
            Model(
                name="two", input=(2, 4, 4), layers=[Flatten(), Dense(11, bias=False), Sigmoid(), Dense(1)],
                dtype="float64", loss=BinaryCrossEntropy(), optimizer=AdamW(lr=0.02, weight_decay=0.1), batch_size=50,
                epochs=2, seed=2, data=replace(DOTS, mean=(0.2, 0.1), std=(0.5, 0.7)),
            ),
        ),
        (
            16,
            Model(
                name="sixteen", input=(1, 3, 3), layers=[Flatten(), Dense(2)], dtype="float64", loss=MeanSquaredError(),
                optimizer=SGD(lr=0.1, weight_decay=0.05), batch_size=9, epochs=2, seed=2, data=DOTS,
            ),
        ),
        (
            1,
            Model(
                name="absolute", input=(1, 3, 3), layers=[Flatten(), Dense(4)], loss=MeanAbsoluteError(),
                optimizer=SGD(lr=0.01), batch_size=9, epochs=2, seed=2, data=DOTS,
            ),
        ),
        (
            2,
            Model(
                name="huber", input=(1, 3, 3), layers=[Flatten(), Dense(3)], loss=Huber(0.3),
                optimizer=SGD(lr=0.1), batch_size=9, epochs=2, seed=2, data=DOTS,
            ),
        ),
    )
}  # fmt: skip
STATES_IN_L2 = ("two",)  # of these networks: tested as if they did not fit into shared memory


@pytest.fixture
def pair(name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Both trainers of a network, on its number of blocks, each built once."""
    if shutil.which("nasm") is None:
        pytest.skip("nasm is not installed")
    cluster, model = NETWORKS[name]
    monkeypatch.setattr(resident_choice, "CLUSTERS", (cluster,))
    if name in STATES_IN_L2:
        limit_shared_memory(monkeypatch, resident_of(model).shared_bytes - 1)
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers of this run
    return build_pair(model, folder / "resident-trainers" / name)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_as_the_cpu_does(name: str, pair: Pair, tmp_path: Path) -> None:
    """Steps one by one, whole epochs with evaluation by the other kernels; and the same bits whatever the order."""
    cluster, _ = NETWORKS[name]
    manifest = json.loads((pair.cuda.parent / "manifest.json").read_text())
    kernel = manifest["kernels"][-1]
    assert (kernel["op"], kernel["launches"][0]["cluster"]) == ("resident", cluster)
    text = (pair.cuda.parent / f"{kernel['symbol']}.cu").read_text()
    assert ("states of weights come from L2" in text) == (name in STATES_IN_L2)
    for args in (("--epochs", STEPS, "--batch-limit", 1), ()):
        logs, reports = [], []
        for kind, path in (("cpu", pair.cpu), ("cuda", pair.cuda)):
            done = run(path, pair.data, "--log", tmp_path / kind, *args)
            assert (done.returncode, done.stderr) == (0, "")
            logs.append(rows(tmp_path / kind))
            reports.append(timeless(done.stdout))
        assert logs[1] == [pytest.approx(row, rel=LOSS_TOLERANCE) for row in logs[0]]
        assert reports[0] == reports[1]
    for seed in "1", "2":
        done = run(pair.cuda, pair.data, "--save", tmp_path / seed, ASMGEN_EMULATION_SEED=seed)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("name", ["four"])
def test_where_a_cluster_does_not_fit_launches_train(pair: Pair, tmp_path: Path) -> None:
    """On a GPU without clusters, on one that has no room for such a cluster, and where the user wants it."""
    bits = {}
    for way, environment in {
        "resident": {},
        "launches": BY_LAUNCHES,
        "sm_80": {"ASMGEN_EMULATION_FAULT": "no_sm_90"},
        "no room": {"ASMGEN_EMULATION_FAULT": "no_clusters"},
    }.items():
        done = run(pair.cuda, pair.data, "--save", tmp_path / "w", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("resident training" in done.stdout) == (way == "resident")
        bits[way] = (tmp_path / "w").read_bytes()
    assert bits["launches"] == bits["sm_80"] == bits["no room"] != bits["resident"]


def resident_of(model: Model) -> Resident:
    found = decide(plan_for(model, CUDA), nvcc.DEFAULT_ARCHES, "float32")
    assert isinstance(found, Resident)
    return found


def limit_shared_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resident_choice, "SHARED_BYTES", dict.fromkeys(resident_choice.SHARED_BYTES, limit))


@pytest.mark.parametrize("name", ["alone", "four", "two"])
def test_states_lie_in_shared_memory_where_they_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, model = NETWORKS[name]
    monkeypatch.setattr(resident_choice, "CLUSTERS", (cluster,))
    near = resident_of(model)
    limit_shared_memory(monkeypatch, near.shared_bytes)
    assert resident_of(model) == near
    limit_shared_memory(monkeypatch, near.shared_bytes - 1)
    far = resident_of(model)
    assert (near.keeps_states, far.keeps_states) == (True, False)
    assert near.cycles < far.cycles
    weights = sum(size for name, size, _ in far.shared_map if name.startswith("w"))
    assert near.shared_bytes - far.shared_bytes == weights * len(near.states)


def shipped(name: str) -> Resident | Refusal:
    return decide(plan_for(load_model(MODELS / f"{name}.py"), CUDA), nvcc.DEFAULT_ARCHES, "float32")


def test_small_perceptrons_are_resident_where_a_gpu_can_hold_them() -> None:
    for name in "mnist_mlp", "mnist_sigmoid":
        decided = shipped(name)
        assert isinstance(decided, Resident)
        assert decided.cluster == 16
        assert decide(decided.plan, ("sm_90",), "float32") == decided
        refused = decide(decided.plan, ("sm_80",), "float32")
        assert isinstance(refused, Refusal)
        assert "sm_80 has the shared memory" in refused.reason
    perceptron = plan_for(load_model(MODELS / "mnist_mlp.py"), CUDA)
    assert decide(perceptron, ("sm_90",), "tf32") != decide(perceptron, ("sm_90",), "float32")
    alone = decide(plan_for(NETWORKS["alone"][1], CUDA), ("sm_80",), "float32")
    assert isinstance(alone, Resident)
    assert alone.cluster == 1


@pytest.mark.parametrize(("arches", "is_listed"), [("sm_90", True), ("sm_80,sm_90", True), ("sm_80", False)])
def test_show_lists_and_prints_it(arches: str, is_listed: bool) -> None:
    command = ["show", f"{MODELS}/mnist_mlp.py", "--isa", "cuda", "--arch", arches]
    rows = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    assert [row["op"] == "resident" for row in rows] == [False] * (len(rows) - 1) + [is_listed]
    if is_listed:
        head = CliRunner().invoke(main, [*command, "resident"]).output
        assert head.startswith("// resident training  64 x 784 -> 256 -> 128 -> 64 -> 10, softmax_ce, adam   float32")
        assert "-- edit asmgen/cuda/resident/resident.py, templates/cuda/resident/resident.cu.j2" in head
        assert "grid 16 x 1 x 1 in clusters of 16, 512 threads, 213 072 B of shared memory" in head


def test_what_it_cannot_do_is_said() -> None:
    convolutions = shipped("lenet")
    assert isinstance(convolutions, Refusal)
    assert "conv1" in convolutions.reason
    model = NETWORKS["alone"][1]
    wide = replace(model, layers=[Flatten(), Dense(4096), ReLU(), Dense(4096), ReLU(), Dense(4)])
    many = replace(model, batch_size=513)
    weighted = replace(model, loss=SoftmaxCrossEntropy(class_weights=(1, 1, 1, 2)))
    for other, words in (wide, "shared memory"), (many, "513"), (weighted, "over the weights of all labels"):
        refused = decide(plan_for(other, CUDA), nvcc.DEFAULT_ARCHES, "float32")
        assert isinstance(refused, Refusal)
        assert words in refused.reason
    stored = decide(build_plan(model, CUDA.lanes(model.dtype), Policy(dense_steps="stored")), ("sm_90",), "float32")
    assert isinstance(stored, Refusal)
    assert stored.reason == "the gradients of dense1 are stored"


@pytest.mark.parametrize("name", [*NETWORKS, "mnist_mlp", "mnist_sigmoid"])
def test_what_lives_at_the_same_time_lies_apart(name: str) -> None:
    plan = plan_for(NETWORKS[name][1] if name in NETWORKS else load_model(MODELS / f"{name}.py"), CUDA)
    decided = decide(plan, nvcc.DEFAULT_ARCHES, "float32")
    assert isinstance(decided, Resident)
    for one in decided.buffers:
        for other in decided.buffers:
            together = one.begin <= other.end and other.begin <= one.end
            apart = one.at + one.size <= other.at or other.at + other.size <= one.at
            assert one == other or not together or apart
    for before, layer in zip(decided.layers, decided.layers[1:], strict=False):
        assert decided.cluster * layer.slice >= max(before.padded, layer.inputs)


@pytest.mark.parametrize("name", ["mnist_mlp", "mnist_sigmoid", "alone"])
def test_nvcc_compiles_it_without_spilling(name: str, tmp_path: Path) -> None:
    compiler = nvcc.find_nvcc()
    if compiler is None:
        pytest.skip("no nvcc: CUDA source is not compiled for GPUs")
    resident = resident_of(NETWORKS[name][1]) if name in NETWORKS else shipped(name)
    assert isinstance(resident, Resident)
    source = tmp_path / "resident.cu"
    source.write_text(resident_kernel.emit(resident).text)
    command = [compiler, *nvcc.compile_flags(nvcc.DEFAULT_ARCHES), "--Werror", "all-warnings", "-Xptxas", "-v"]
    command += ["-fatbin", "-o", tmp_path / "resident.fatbin", f"-I{CUDA_RUNTIME}", source]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-3000:]
    assert set(re.findall(r"(\d+) bytes spill", said.stderr)) == {"0"}, said.stderr
