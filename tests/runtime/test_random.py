"""The numbers that the trainer draws are those of asmgen/reference/random.py, and both are Philox4x32-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from asmgen.emit.trainer_model import Init
from asmgen.reference import random
from asmgen.reference.initial import initial_parameters
from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, draw, run
from tests.runtime.shipped import shipped


def test_known_answers() -> None:
    """From the test vectors of the authors' Random123 library: counter, key -> block."""
    assert random.philox_blocks(0, 0, 0, 1).tolist() == [[0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]]


def test_seed_index_and_stream_are_all_used() -> None:
    base = random.words(1, 2, 8)
    assert len({*base.tolist()}) == 8
    for other in (random.words(1 + 2**32, 2, 8), random.words(2, 2, 8), random.words(1, 3, 8)):
        assert not np.isin(base, other).any()
    assert (random.philox_blocks(1, 2, 1, 1)[0] == base[4:]).all()


def test_distributions() -> None:
    uniform = random.uniform(3, 0, 100_000, 2.0)
    assert -2 <= uniform.min() < -1.999
    assert 1.999 < uniform.max() < 2
    assert abs(uniform.mean()) < 0.02
    normal = random.normal(3, 1, 100_000, 0.5)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 0.5) < 0.01
    assert np.abs(normal).max() <= 3


def test_shuffle_is_a_permutation_of_what_it_is_given() -> None:
    samples = np.delete(np.arange(1000), slice(100, 200))
    order = random.shuffled(1, 0, samples)
    assert sorted(order.tolist()) == samples.tolist()
    assert order.tolist() != random.shuffled(1, 1, samples).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("init", "bias_init"),
    [
        (Init("uniform", 0.1), Init("normal", 0.7)),
        (Init("normal", 1 / 3), Init("uniform", 1e-3)),
        (Init("normal", 1e-3), Init("zeros")),
    ],
    ids=["uniform", "normal", "zeros"],
)
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_first_weights(dtype: str, init: Init, bias_init: Init, seed: int, build: Build, tmp_path: Path) -> None:
    """Bit for bit, in a tensor that spans many blocks of a stream and has a ragged last group of inputs."""
    model = Linear(dtype=dtype, height=19, width=7, outputs=11, init=init, bias_init=bias_init)
    saved = tmp_path / "weights.safetensors"
    data = Data.make(model).write(tmp_path / "data")
    said = run(build(model), "--data", data, "--epochs=0", "--seed", seed, "--save", saved)
    assert said.returncode == 0
    tensors = load_file(saved)
    weight, bias = model.first_weights(seed)
    assert tensors["1.weight"].tobytes() == weight.tobytes()
    assert tensors["1.bias"].tobytes() == bias.tobytes()
    assert tensors["1.bias"].any() == (bias_init.kind != "zeros")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_weights_from_a_file(dtype: str, build: Build, tmp_path: Path) -> None:
    model = Linear(dtype=dtype, init=Init("data", data="init/1.weight.bin"))
    values = np.random.default_rng(0).normal(size=(model.outputs, model.inputs)).astype(dtype)
    folder = tmp_path / "trainer"
    (folder / "init").mkdir(parents=True)
    (folder / "init/1.weight.bin").write_bytes(values.tobytes())
    saved = tmp_path / "weights.safetensors"
    said = run(model.build(folder), "--data", Data.make(model).write(tmp_path / "data"), "--epochs=0", "--save", saved)
    assert said.returncode == 0
    assert load_file(saved)["1.weight"].tobytes() == values.tobytes()
    assert load_file(saved)["1.bias"].tobytes() == draw(model.bias_init, model.seed, 1, model.outputs, dtype).tobytes()


@pytest.mark.parametrize(
    ("name", "settings"),
    [("catdog", {"size": "24"}), ("lenet", {}), ("mnist_sigmoid", {})],
    ids=["catdog", "lenet", "sigmoid"],
)
def test_first_weights_of_models(name: str, settings: dict[str, str], isa: str, tmp_path: Path) -> None:
    """Bit for bit in every layout, whichever threads draw; what is loaded and saved again is the same file."""
    model, trainer = shipped(name, settings, isa, tmp_path)
    first, again = tmp_path / "first", tmp_path / "again"
    for threads in (1, 2, 5):
        options = ("--data", tmp_path, "--epochs=0", "--threads", threads)
        assert run(trainer, *options, "--save", first).returncode == 0
        found = load_file(first)
        for tensor, values in initial_parameters(model).items():
            assert found[tensor].tobytes() == values.tobytes(), (tensor, threads)
        assert run(trainer, *options, "--load", first, "--save", again).returncode == 0
        assert again.read_bytes() == first.read_bytes()
