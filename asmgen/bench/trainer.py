"""Times a built trainer: the executable itself on random images, training or testing."""

from __future__ import annotations

import csv
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from asmgen.data.idx import write_idx
from asmgen.errors import ToolError
from asmgen.model.network import Model
from asmgen.model.trace import classes_of

_DATA_BYTES = 4 << 20  # of distinct images, so that they come from beyond L2 as those of a real data set do
_LEAST_BATCHES, _MOST_BATCHES = 8, 2048
_WARM_EPOCHS = 2
_MOST_EPOCHS = 1_000_000  # that a trainer takes


class TrainerBench:
    """A trainer of a model without validation split, with random images for it; use as a context manager.

    What is timed includes what the product does: gathering shuffled images, reading bytes, scores.
    """

    def __init__(self, model: Model, trainer: Path) -> None:
        assert model.data.validation is None, model.name
        self._trainer = trainer
        self._folder = tempfile.TemporaryDirectory(prefix="asmgen-bench-")
        image_bytes = int(np.prod(model.input))
        batches = _DATA_BYTES // (image_bytes * model.batch_size)
        self._n_batches = min(max(_LEAST_BATCHES, batches), _MOST_BATCHES)
        many = self._n_batches * model.batch_size
        self._steps = self._data_set(model, "steps", many, model.batch_size)
        self._tests = self._data_set(model, "tests", model.batch_size, many)

    def __enter__(self) -> TrainerBench:
        return self

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()

    def seconds_per_step(self, threads: int, at_least: float) -> float:
        """Of training: the median epoch over its steps, of the trainer's own log, after one epoch of warm-up."""
        once = self._run(self._steps, _WARM_EPOCHS, threads)[1][-1]
        epochs = min(3 + int(at_least / max(once, 1e-6)), _MOST_EPOCHS)
        return float(np.median(self._run(self._steps, epochs, threads)[1][1:])) / self._n_batches

    def seconds_per_test(self, threads: int, at_least: float) -> float:
        """Of a batch of the evaluation: a forward pass with its loss and scores.

        Every epoch trains one batch and tests the whole set: the difference between a long and a short run, less what
        the log says of training.
        """
        once = self._tested(1 + _WARM_EPOCHS, threads) - self._tested(1, threads)
        epochs = max(_WARM_EPOCHS, min(int(at_least * _WARM_EPOCHS / max(once, 1e-4)), _MOST_EPOCHS - 1))
        took = self._tested(1 + epochs, threads) - self._tested(1, threads)
        return max(took, 1e-9) / (epochs * self._n_batches)

    def _tested(self, epochs: int, threads: int) -> float:
        """Seconds of a run, without the training in it."""
        wall, training = self._run(self._tests, epochs, threads)
        return wall - sum(training)

    def _run(self, data: Path, epochs: int, threads: int) -> tuple[float, list[float]]:
        """(seconds of the process, seconds of training of each epoch)."""
        log = Path(self._folder.name) / "log.csv"
        command = [str(self._trainer), "--data", str(data), "--epochs", str(epochs), "--quiet"]
        # A vanishing learning rate keeps random labels from driving the weights to infinity; the work is the same.
        command += ["--lr", "1e-30", "--threads", str(threads), "--log", str(log)]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        wall = time.perf_counter() - began
        if done.returncode:
            raise ToolError(f"{self._trainer} failed: {done.stderr.strip() or done.stdout.strip()}")
        with log.open(newline="") as file:
            return wall, [float(row["seconds"]) for row in csv.DictReader(file)]

    def _data_set(self, model: Model, name: str, train: int, test: int) -> Path:
        folder = Path(self._folder.name) / name
        folder.mkdir()
        write_random(model, folder, train, test)
        return folder


def write_random(model: Model, folder: Path, train: int, test: int) -> None:
    """A data set of random images and labels for `model`."""
    rng = np.random.default_rng(0)
    c, h, w = model.input
    for split, count in (("train", train), ("test", test)):
        shape = (count, h, w) if c == 1 else (count, c, h, w)
        write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", rng.integers(0, 256, shape, np.uint8))
        labels = rng.integers(0, classes_of(model), count).astype(np.uint8)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
