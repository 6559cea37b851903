"""CPU trainers and emulated CUDA trainers of the same small models, on the same drawn data."""

from __future__ import annotations

import fcntl
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asmgen import (
    SGD,
    Adam,
    AvgPool2D,
    BinaryCrossEntropy,
    Conv2D,
    Dataset,
    Dense,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    MeanSquaredError,
    Model,
    Momentum,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
)
from asmgen.asm.isa import ISAS
from asmgen.data.idx import write_idx
from asmgen.emit.cuda import generate_cuda
from asmgen.emit.generate import generate
from asmgen.model.trace import classes_of
from asmgen.toolchain.build import build_trainer
from asmgen.toolchain.cuda_build import build_emulated_trainer
from asmgen.toolchain.nvcc import DEFAULT_ARCHES

TRAIN, TEST = 45, 21
BY_LAUNCHES = {"ASMGEN_RESIDENT": "0"}  # of a trainer that could train in one kernel


def models() -> dict[str, Model]:
    """With validation splits or without, float32 and float64, incomplete batches and one larger than the data."""
    return {
        model.name: model
        for model in (
            Model(
                name="perceptron", input=(1, 6, 5), layers=[Flatten(), Dense(12), ReLU(), Dense(4)],
                loss=SoftmaxCrossEntropy(), optimizer=Adam(lr=0.01, lr_decay=0.9), batch_size=8, epochs=3, seed=3,
                data=Dataset("dots", scale=1 / 255, validation=("train", 30, 41)),
            ),
            Model(
                name="convolutions", input=(3, 8, 8),
                layers=[
                    Conv2D(5, 3, padding="same"), ReLU(), MaxPool2D(2), Conv2D(18, 3), LeakyReLU(), AvgPool2D(2),
                    Flatten(), Dense(3),
                ],
                loss=SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1, 3, 0.5)),
                optimizer=Momentum(lr=0.02, momentum=0.8), batch_size=6, epochs=2, seed=1,
                data=Dataset("dots", scale=1 / 255),
            ),
            Model(
                name="double", input=(2, 4, 4), layers=[Flatten(), Dense(3), Sigmoid(), Dense(1)], dtype="float64",
                loss=BinaryCrossEntropy(), optimizer=SGD(lr=0.1), batch_size=50, epochs=2, seed=2,
                data=Dataset("dots", scale=1 / 255, validation=("test", 0, 10)),
            ),
            Model(
                name="squares", input=(1, 1, 9), layers=[Flatten(), Dense(2)], loss=MeanSquaredError(),
                optimizer=SGD(lr=0.1), batch_size=8, epochs=2, seed=2, data=Dataset("dots", scale=1 / 255),
            ),
        )
    }  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The two trainers of a model, and its data."""

    model: Model
    cpu: Path
    cuda: Path
    data: Path


def build_pair(model: Model, folder: Path) -> Pair:
    """In `folder`, once: of several processes the first builds, the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        data, done = folder / "data", folder / "done"
        pair = Pair(
            model,
            cpu=folder / model.name / "sse41" / "trainer",
            cuda=folder / model.name / "cuda" / "trainer-emulated",
            data=data,
        )
        if not done.exists():
            write_data(model, data)
            generated = generate(model, ISAS["sse41"], folder)
            build_trainer(generated.folder, generated.sources)
            build_emulated_trainer(generate_cuda(model, "float32", folder, DEFAULT_ARCHES).folder)
            done.touch()
        return pair


def write_data(model: Model, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, count in (("train", TRAIN), ("test", TEST)):
        labels = rng.integers(0, classes_of(model), count).astype(np.uint8)
        images = rng.integers(0, 60, (count, *model.input)).astype(np.uint8)
        images.reshape(count, -1)[np.arange(count), 2 * labels.astype(int)] += 150  # something to learn
        write_idx(folder / f"{name}-images-idx4-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)


def run(trainer: Path, data: Path, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(trainer), "--data", str(data), *map(str, args)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
