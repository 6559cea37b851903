"""The built trainer beside PyTorch: the same weights and batches for 20 steps, through the executable's own flags.

PyTorch computes in float64 here, whatever the model's dtype: over 20 steps its own float32 losses leave its float64
ones by 1e-4 to 4e-3 (ReLU and argmax flip on rounding), so float32 against float32 would compare two roundings.
"""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asmgen import Adam, Conv2D
from asmgen.asm.isa import ISAS
from asmgen.data.idx import write_idx
from asmgen.emit.generate import generate
from asmgen.model.load import load_model
from asmgen.model.shapes import classes_of
from asmgen.reference.initial import initial_parameters
from asmgen.reference.random import shuffled
from asmgen.toolchain.build import build_trainer

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed (extra [dev])")

N_STEPS = 20
LOSS_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
WEIGHT_TOLERANCE = 1e-5

# (model, options): the shipped shapes, smaller where an SSE4.1 step would take a second. The steps of catdog and
# vgg_small magnify any difference, PyTorch's own rounding too (at their shipped rates by 1e-3 and 4e-3 within 20 steps,
# where one ReLU or maximum of equal values falls the other way), so their learning rates are small here.
MODELS = [
    ("catdog", {"size": "48", "lr": "0.001"}),
    ("mnist_mlp", {"optimizer": "sgd"}),
    ("mnist_mlp", {"optimizer": "momentum"}),
    ("mnist_mlp", {"optimizer": "adam"}),
    ("mnist_sigmoid", {}),
    ("lenet", {"pool": "max"}),
    ("lenet", {"pool": "avg"}),
    ("vgg_small", {"batch": "8", "lr": "0.0001"}),
]


class Run:
    """A trainer, a small data set, and PyTorch's side of it."""

    def __init__(self, name: str, options: dict[str, str], isa: str, folder: Path) -> None:
        from asmgen.bench.torch_peer import TorchPeer

        self.model = load_model(f"models/{name}.py", options)
        self.folder = folder
        generated = generate(self.model, ISAS[isa], folder)
        self.trainer = build_trainer(generated.folder, generated.sources)
        self.images, self.labels = self._draw(2 * N_STEPS * self.model.batch_size)
        for split in ("train", "test"):
            shape = self.images.shape if self.model.input[0] > 1 else (len(self.images), *self.model.input[1:])
            write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", self.images.reshape(shape))
            write_idx(folder / f"{split}-labels-idx1-ubyte", self.labels.astype(np.uint8))
        self.peer = TorchPeer(self.model, initial_parameters(self.model), "float64")

    def _draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Images and random labels; a validation split of the model's must exist in test.

        Of noise, so that no gradient nearly vanishes; with soft shapes under it for convolutions, so that rounding
        decides few maxima. Without this the steps magnify rounding, PyTorch's own too.
        """
        rng = np.random.default_rng(11)
        validation = self.model.data.validation
        count = max(count, validation[2] if validation else 0)
        c, h, w = self.model.input
        labels = rng.integers(0, classes_of(self.model), count)
        if not isinstance(self.model.layers[0], Conv2D):
            return rng.integers(0, 256, (count, c, h, w)).astype(np.uint8), labels
        coarse = rng.normal(0, 200, (count, c, 6, 6))
        rows, cols = np.linspace(0, 4.99, h), np.linspace(0, 4.99, w)
        along = coarse[:, :, rows.astype(int)] + (rows % 1)[:, None] * np.diff(coarse, axis=2)[:, :, rows.astype(int)]
        images = along[..., cols.astype(int)] + (cols % 1) * np.diff(along, axis=3)[..., cols.astype(int)]
        return (np.clip(images, 0, 155) + rng.integers(0, 100, images.shape)).astype(np.uint8), labels

    def train(self, epochs: int, *flags: str) -> list[float]:
        """One batch an epoch; the losses."""
        log = self.folder / "log.csv"
        command = [self.trainer, "--data", self.folder, "--epochs", epochs, "--batch-limit", 1, "--log", log, *flags]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with log.open(newline="") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def torch_step(self, epoch: int) -> float:
        """The step of this epoch's first batch."""
        batch = shuffled(self.model.seed, epoch, np.arange(len(self.images)))[: self.model.batch_size]
        for group in self.peer.optimizer.param_groups:
            group["lr"] = self.model.optimizer.lr * self.model.optimizer.lr_decay**epoch
        return float(self.peer.step(self.peer.inputs(self.images[batch]), torch.from_numpy(self.labels[batch])))


@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda value: value if isinstance(value, str) else "")
def test_twenty_steps(name: str, options: dict[str, str], isa: str, tmp_path: Path) -> None:
    run = Run(name, options, isa, tmp_path)
    run.train(1, "--save", str(tmp_path / "one.safetensors"))
    losses = run.train(N_STEPS)
    expected = [run.torch_step(0)]
    _compare_weights(
        safetensors.load_file(tmp_path / "one.safetensors"),
        run.peer.parameters(),
        adaptive=isinstance(run.model.optimizer, Adam),
    )
    expected += [run.torch_step(epoch) for epoch in range(1, N_STEPS)]
    np.testing.assert_allclose(losses, expected, rtol=LOSS_TOLERANCE[run.model.dtype])
    assert len(losses) == N_STEPS


def _compare_weights(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], *, adaptive: bool) -> None:
    """Adam's first step is lr * g / (|g| + eps): where |g| is near eps it magnifies the rounding of g without bound, so
    with an adaptive optimizer the tensor's norm is compared and not each element."""
    assert set(ours) == set(theirs)
    order = 2 if adaptive else np.inf
    for name, value in theirs.items():
        error = np.linalg.norm((ours[name] - value).reshape(-1), order)
        assert error <= WEIGHT_TOLERANCE * np.linalg.norm(value.reshape(-1), order), name
