"""A linear model for the tests of the runtime: its trainer, its data, and what NumPy says it must do."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asmgen.emit.trainer import render_trainer
from asmgen.emit.trainer_model import Call, Init, PackedDim, ParamTensor, Split, TrainerModel
from asmgen.reference import random
from asmgen.toolchain.build import build_trainer

KERNELS = Path(__file__).with_name("linear.asm").read_text()
UNIFORM, NORMAL = Init("uniform", 0.3), Init("normal", 0.1)
Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Linear:
    """y = W x + b on images of channels x height x width, loss = sum (y - one-hot)^2 a sample, plain steps."""

    dtype: str = "float32"
    channels: int = 1
    height: int = 2
    width: int = 3
    outputs: int = 3
    batch: int = 8
    epochs: int = 3
    lr: float = 0.05
    lr_decay: float = 0.5
    seed: int = 2**40 + 7
    betas: tuple[float, float] = (0.0, 0.0)
    hyper: int = 0
    validation: Split | None = None
    init: Init = UNIFORM
    bias_init: Init = NORMAL
    cpu_features: tuple[str, ...] = ("sse4_1",)
    isa: str = "sse41"
    useful_threads: int = 256
    gap_bytes: int = 0  # of the arena, unused, before the first tensor

    @property
    def inputs(self) -> int:
        return self.channels * self.height * self.width

    @property
    def classes(self) -> int:
        return max(self.outputs, 2)

    @property
    def element(self) -> int:
        return np.dtype(self.dtype).itemsize

    def trainer_model(self) -> TrainerModel:
        padded = -(-self.inputs // 4) * 4
        weights = padded * self.outputs
        sizes = {
            "indices": 4 * self.batch,
            "pixels": 8 * self.batch,
            "labels": 4 * self.batch,
            "loss": 128 + 12 * self.batch + 64,
            "hyper": 64,
            "x": self.batch * self.inputs * self.element,
            "y": self.batch * self.outputs * self.element,
            "dz": self.batch * self.outputs * self.element,
            "w": (weights + self.outputs) * self.element,
            "w_copy": (weights + self.outputs) * self.element,
            "dw": (weights + self.outputs) * self.element,
        }
        offsets, at = {}, self.gap_bytes
        for name, size in sizes.items():
            offsets[name] = at
            at += -(-size // 64) * 64
        weight_dims = (PackedDim(self.outputs, 1, 4, 0), PackedDim(self.inputs, 4, 4 * self.outputs, 1))
        bias_dims = (PackedDim(self.outputs, 1, 1, 0),)
        bias_at = offsets["w"] + weights * self.element
        forward = (
            Call("load_input", ("images", "indices", "x"), self.batch, "u8 -> x"),
            Call("dense_fwd", ("x", "w_copy", "y"), self.batch, "dense"),
            Call("squared_loss", ("y", "labels", "dz", "loss"), self.batch, "squared loss"),
        )
        return TrainerModel(
            name="linear",
            isa=self.isa,
            useful_threads=self.useful_threads,
            cpu_features=self.cpu_features,
            dtype=self.dtype,
            channels=self.channels,
            height=self.height,
            width=self.width,
            outputs=self.outputs,
            classes=self.classes,
            dataset="dots",
            least_present=1,
            batch=self.batch,
            epochs=self.epochs,
            lr=self.lr,
            lr_decay=self.lr_decay,
            beta1=self.betas[0],
            beta2=self.betas[1],
            seed=self.seed,
            validation=self.validation,
            arena_bytes=at,
            offsets=offsets,
            params=(
                ParamTensor("1.weight", (self.outputs, self.inputs), offsets["w"], weight_dims, self.init),
                ParamTensor("1.bias", (self.outputs,), bias_at, bias_dims, self.bias_init),
            ),
            derive=(Call("copy_rows", ("w", "w_copy"), weights + self.outputs, "copy of w"),),
            forward=forward,
            evaluate=forward,
            backward=(Call("dense_dw", ("x", "dz", "dw"), self.outputs, "dw"),),
            update=(Call("update_sgd", ("w", "dw", None, "hyper"), weights + self.outputs, "w -= lr dw"),),
        )

    def build(self, folder: Path) -> Path:
        """The trainer, in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {
            "BATCH": self.batch,
            "INPUTS": self.inputs,
            "OUTPUTS": self.outputs,
            "ELEMENT": self.element,
            "HYPER": self.hyper,
        }
        defines = "".join(f"%define {name} {value}\n" for name, value in sizes.items())
        (folder / "linear.asm").write_text(defines + KERNELS)
        (folder / "trainer.asm").write_text(render_trainer(self.trainer_model()))
        return build_trainer(folder, (folder / "linear.asm", folder / "trainer.asm"))

    # What it must do, in float64 (the values drawn are those of the dtype).

    def first_weights(self, seed: int | None = None) -> tuple[Array, Array]:
        seed = self.seed if seed is None else seed
        weight = draw(self.init, seed, 0, self.outputs * self.inputs, self.dtype).reshape(self.outputs, self.inputs)
        return weight, draw(self.bias_init, seed, 1, self.outputs, self.dtype)

    def forward(self, weight: Array, bias: Array, images: Array, labels: Array) -> tuple[Array, Array, Array]:
        """Losses, predictions, dz (without the factor 1 / present)."""
        y = images.reshape(len(images), -1) / 256 @ weight.T + bias
        target = labels[:, None] if self.outputs == 1 else np.eye(self.outputs)[labels]
        predictions = (y[:, 0] > 0.5).astype(int) if self.outputs == 1 else y.argmax(axis=1)
        return ((y - target) ** 2).sum(axis=1), predictions, 2 * (y - target)

    def train(self, data: Data, batch_limit: int = 10**9) -> tuple[Array, Array, list[dict[str, float]]]:
        """The final parameters, and what every epoch reports."""
        weight, bias = (values.astype(np.float64) for values in self.first_weights())
        validation = self.validation
        source = data.splits[validation.source] if validation else data.splits["test"]
        judged = slice(validation.begin, None if validation.end < 0 else validation.end) if validation else slice(None)
        samples = np.arange(len(data.splits["train"][1]))
        if validation and validation.source == "train":
            samples = np.delete(samples, judged)
        log, lr, step = [], self.lr, 0
        for epoch in range(self.epochs):
            order = random.shuffled(self.seed, epoch, samples)
            batches = [order[at : at + self.batch] for at in range(0, len(order), self.batch)][:batch_limit]
            losses, right = [], 0
            for batch in batches:
                images, labels = data.splits["train"][0][batch], data.splits["train"][1][batch]
                loss, predictions, dz = self.forward(weight, bias, images, labels)
                losses += list(loss)
                right += int((predictions == labels).sum())
                step += 1
                size = (
                    lr,
                    lr / (1 - self.betas[0] ** step),
                    1 / np.sqrt(1 - self.betas[1] ** step),
                )[self.hyper]
                weight = weight - size * dz.T @ (images.reshape(len(images), -1) / 256) / len(batch)
                bias = bias - size * dz.sum(axis=0) / len(batch)
            _, predictions, _ = self.forward(weight, bias, source[0][judged], source[1][judged])
            log.append(
                {
                    "epoch": epoch + 1,
                    "loss": sum(losses) / len(losses),
                    "train_acc": right / len(losses),
                    "val_acc": float((predictions == source[1][judged]).mean()),
                    "lr": lr,
                }
            )
            lr *= self.lr_decay
        return weight, bias, log


def draw(init: Init, seed: int, stream: int, count: int, dtype: str) -> Array:
    if init.kind == "zeros":
        return np.zeros(count, dtype)
    return {"uniform": random.uniform, "normal": random.normal}[init.kind](seed, stream, count, init.scale, dtype)


@dataclass(frozen=True)
class Data:
    """Images u8 [n][c][h][w] and labels u8 [n] for "train" and "test"."""

    splits: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]

    @staticmethod
    def make(model: Linear, train: int = 45, test: int = 21, seed: int = 0) -> Data:
        rng = np.random.default_rng(seed)
        splits = {}
        for name, count in (("train", train), ("test", test)):
            labels = rng.integers(0, model.classes, count).astype(np.uint8)
            images = rng.integers(0, 60, (count, model.channels, model.height, model.width)).astype(np.uint8)
            images.reshape(count, -1)[np.arange(count), labels.astype(int) % model.inputs] += 150  # something to learn
            splits[name] = (images, labels)
        return Data(splits)

    def write(self, folder: Path, rank: int | None = None, test: str = "test") -> Path:
        """IDX files; `rank` 3 drops the channel axis."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, prefix in (("train", "train"), ("test", test)):
            images, labels = self.splits[name]
            shape = images.shape if rank != 3 else (len(images), *images.shape[2:])
            write_idx(folder / f"{prefix}-images-idx{len(shape)}-ubyte", shape, images.tobytes())
            write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels.shape, labels.tobytes())
        return folder


def write_idx(path: Path, shape: tuple[int, ...], content: bytes, magic: int | None = None) -> None:
    magic = 0x0800 + len(shape) if magic is None else magic
    path.write_bytes(struct.pack(f">{1 + len(shape)}I", magic, *shape) + content)


def run(trainer: Path, *args: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a trainer; `env` adds to an environment without ASMGEN_DATA."""
    env = {key: value for key, value in os.environ.items() if key != "ASMGEN_DATA"} | dict(options.pop("env", {}))
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 60}
    return subprocess.run([str(trainer), *map(str, args)], check=False, env=env, **(defaults | options))
