"""The built trainer beside PyTorch: the same weights and batches for 20 steps, through the executable's own flags."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asmgen import (
    ELU,
    GELU,
    Adam,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Flatten,
    HardSwish,
    LeakyReLU,
    MaxPool2D,
    Model,
    Momentum,
    ReLU,
    ReLU6,
    Residual,
    Scale,
    SoftmaxCrossEntropy,
    Tanh,
)
from asmgen.asm.isa import ISAS
from asmgen.bench.parity import LOSS_TOLERANCE, STEPS, draw, write_split
from asmgen.emit.generate import generate
from asmgen.model.load import load_model
from asmgen.reference.initial import initial_parameters
from asmgen.toolchain.build import build_trainer

pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed (extra [dev])")

WEIGHT_TOLERANCE = 1e-5

# (model, options): the shipped shapes, smaller where an SSE4.1 step would take a second; learning rates are small where
# steps magnify rounding (GENTLE_RATES).
MODELS = [
    ("catdog", {"size": "48", "batch": "8", "lr": "0.001"}),
    ("mnist_mlp", {"optimizer": "sgd"}),
    ("mnist_mlp", {"optimizer": "momentum"}),
    ("mnist_mlp", {"optimizer": "adam"}),
    ("mnist_sigmoid", {}),
    ("lenet", {"pool": "max"}),
    ("lenet", {"pool": "avg"}),
    ("vgg_small", {"size": "20", "batch": "8", "lr": "0.0001"}),
]


# Networks with normalisation, and a learning rate for float32: at their own, steps magnify rounding a thousand times.
NORMALISED = [
    ("resnet", {"depth": "8", "shortcut": "A", "size": "16", "batch": "8"}, "0.0002"),
    ("resnet", {"depth": "8", "shortcut": "B", "size": "16", "batch": "8"}, "0.0002"),
    ("mobilenet", {"size": "48", "batch": "16"}, "0.000003"),
    ("ds_cnn", {"blocks": "2", "batch": "7"}, "0.000003"),
]
# Each in both types, each type on another level in turn.
LEVELS = list(ISAS)
TYPED = [
    pytest.param(*case, dtype, level, marks=pytest.mark.isa(level), id=f"{case[0]}-{number}-{dtype}-{level}")
    for number, case in enumerate(NORMALISED)
    for dtype, level in (("float64", LEVELS[number % 3]), ("float32", LEVELS[(number + 1) % 3]))
]

# Max pools whose windows overlap, leave gaps, leave rests, are large: each convolution's gradients are sparse.
WINDOWS = {
    "3 by 2, 4x4": [
        Conv2D(20, 3, padding="same"), ReLU(), MaxPool2D(3, 2), Conv2D(24, 3, padding="same"), ReLU(), MaxPool2D(4),
    ],
    "2 by 3, 7x6": [
        Conv2D(6, 5), MaxPool2D(2, 3), ReLU(), Conv2D(33, 3, padding="same"), LeakyReLU(0.1), MaxPool2D((7, 6), (3, 5)),
    ],
    "5x5, 3x2 by 2": [
        Conv2D(7, 3, stride=2), Tanh(), Conv2D(17, 3), ReLU(), MaxPool2D(5), Conv2D(5, 1), ReLU(), MaxPool2D((3, 2), 2),
    ],
    "batch normalisation": [
        Conv2D(8, 3, stride=2, bias=False), BatchNorm(), ReLU(),
        Dropout(0.1),
        Residual([Conv2D(8, 3, padding=1, bias=False), BatchNorm(), ReLU(), Conv2D(8, 3, padding=1, bias=False),
                  BatchNorm()]), ReLU(),
        Conv2D(20, 3, stride=2, bias=False), MaxPool2D(2), BatchNorm(scale=False, eps=1e-3), GELU(),
    ],
    "ReLU6 and its kind": [
        Conv2D(8, 3, stride=2, bias=False), BatchNorm(), Scale(4.0), ReLU6(), Conv2D(16, 3, padding=1), ReLU6(),
        Conv2D(9, 3), ReLU6(), MaxPool2D(2), Conv2D(8, 3, bias=False), BatchNorm(), HardSwish(), Conv2D(8, 1), ELU(),
    ],
    "padding beyond the kernel": [
        Conv2D(16, 3, padding=4), ReLU(), MaxPool2D(2), Conv2D(32, 3, padding=3), ReLU(), Conv2D(32, 3, padding=(1, 7)),
        ReLU(), Conv2D(8, (2, 3), 3, padding=(5, 9)), LeakyReLU(0.1),
    ],
}  # fmt: skip


# Behind the last dense layer.
LAST = {"ReLU6 and its kind": [Scale(1 / 9)]}


def windows_model(name: str, dtype: str) -> Model:
    return Model(
        name="windows", input=(3, 41, 43), layers=[*WINDOWS[name], Flatten(), Dense(3), *LAST.get(name, [])],
        loss=SoftmaxCrossEntropy(), optimizer=Momentum(lr=0.002), batch_size=6, dtype=dtype,
        data=Dataset("none", mean=(0.5, 0.4, 0.3)),
    )  # fmt: skip


class Run:
    """A trainer, a small data set, and PyTorch's side of it."""

    def __init__(self, model: Model, isa: str, folder: Path) -> None:
        from asmgen.bench.torch_parity import TorchRun

        self.model = model
        self.folder = folder
        generated = generate(self.model, ISAS[isa], folder)
        self.trainer = build_trainer(generated.folder, generated.sources)
        images, labels = draw(self.model, 2 * STEPS * self.model.batch_size)
        for split in ("train", "test"):
            write_split(self.model, folder, split, images, labels)
        self.torch = TorchRun(self.model, initial_parameters(self.model), images, labels)
        self.torch32 = TorchRun(self.model, initial_parameters(self.model), images, labels, dtype="float32")

    def train(self, epochs: int, *flags: str) -> list[float]:
        """One batch an epoch; the losses."""
        log = self.folder / "log.csv"
        command = [self.trainer, "--data", self.folder, "--epochs", epochs, "--batch-limit", 1, "--log", log, *flags]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with log.open(newline="") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda value: value if isinstance(value, str) else "")
def test_twenty_steps(name: str, options: dict[str, str], isa: str, tmp_path: Path) -> None:
    check_twenty_steps(Run(load_model(f"models/{name}.py", options), isa, tmp_path), tmp_path)


@pytest.mark.parametrize(("name", "options", "gentle", "dtype", "level"), TYPED)
def test_normalised_networks(
    name: str, options: dict[str, str], gentle: str, dtype: str, level: str, tmp_path: Path
) -> None:
    """20 steps: losses, and in float64 all weights and running statistics to 1e-9 of each tensor's largest value.

    Losses of float32 may be as far from float64's as four times PyTorch's own of float32.
    """
    rate = {"lr": gentle} if dtype == "float32" else {}
    run = Run(replace(load_model(f"models/{name}.py", options | rate), dtype=dtype), level, tmp_path)
    losses = run.train(STEPS, "--save", str(tmp_path / "last.safetensors"))
    expected = [run.torch.step(epoch) for epoch in range(STEPS)]
    bound = LOSS_TOLERANCE[dtype]
    if dtype == "float32":
        theirs = [run.torch32.step(epoch) for epoch in range(STEPS)]
        bound = max(bound, 4 * float(np.max(np.abs(np.divide(theirs, expected) - 1))))
        assert bound < 1e-3
    np.testing.assert_allclose(losses, expected, rtol=bound)
    if dtype == "float64":
        ours = safetensors.load_file(tmp_path / "last.safetensors")
        weights = run.torch.peer.parameters() | run.torch.peer.buffers()
        assert set(ours) == set(weights)
        for tensor, value in weights.items():
            np.testing.assert_allclose(ours[tensor], value, rtol=0, atol=1e-9 * np.abs(value).max(), err_msg=tensor)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, dtype: str, isa: str, tmp_path: Path) -> None:
    check_twenty_steps(Run(windows_model(name, dtype), isa, tmp_path), tmp_path)


def check_twenty_steps(run: Run, tmp_path: Path) -> None:
    run.train(1, "--save", str(tmp_path / "one.safetensors"))
    losses = run.train(STEPS)
    expected = [run.torch.step(0)]
    _compare_weights(
        safetensors.load_file(tmp_path / "one.safetensors"),
        run.torch.peer.parameters() | run.torch.peer.buffers(),
        adaptive=isinstance(run.model.optimizer, Adam),
    )
    expected += [run.torch.step(epoch) for epoch in range(1, STEPS)]
    np.testing.assert_allclose(losses, expected, rtol=LOSS_TOLERANCE[run.model.dtype])
    assert len(losses) == STEPS


def _compare_weights(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], *, adaptive: bool) -> None:
    """Adam's first step is lr * g / (|g| + eps): where |g| is near eps it magnifies the rounding of g without bound, so
    with an adaptive optimizer the tensor's norm is compared and not each element."""
    assert set(ours) == set(theirs)
    order = 2 if adaptive else np.inf
    for name, value in theirs.items():
        error = np.linalg.norm((ours[name] - value).reshape(-1), order)
        assert error <= WEIGHT_TOLERANCE * np.linalg.norm(value.reshape(-1), order), name
