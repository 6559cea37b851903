"""Times whole training steps of a built trainer: the executable itself, on random images, by its own log."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from asmgen.data.idx import write_idx
from asmgen.errors import ToolError
from asmgen.model.network import Model
from asmgen.model.shapes import classes_of


class TrainerBench:
    """A trainer and a data set of random images for it; use as a context manager.

    A measured step includes what training includes: gathering shuffled images, forward, backward, update.
    """

    def __init__(self, model: Model, trainer: Path, threads: int, *, distinct_batches: int = 8) -> None:
        self.model = model
        self._trainer = trainer
        self._threads = threads
        self._steps = distinct_batches
        self._folder = tempfile.TemporaryDirectory(prefix="asmgen-bench-")
        rng = np.random.default_rng(0)
        for split, count in (("train", distinct_batches * model.batch_size), ("test", model.batch_size)):
            self._write(split, count, rng)

    def __enter__(self) -> TrainerBench:
        return self

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()

    def seconds_per_step(self, min_seconds: float) -> float:
        """The median epoch's time over its steps, after one epoch of warm-up, in one run of about `min_seconds`."""
        once = self._epochs(2)[-1]
        epochs = max(3, int(min_seconds / max(once, 1e-6)) + 1)
        return float(np.median(self._epochs(epochs)[1:])) / self._steps

    def _epochs(self, epochs: int) -> list[float]:
        """Seconds of training of each epoch."""
        log = Path(self._folder.name) / "log.csv"
        command = [str(self._trainer), "--data", self._folder.name, "--epochs", str(epochs), "--quiet"]
        # A vanishing learning rate keeps random labels from driving the weights to infinity; the work is the same.
        command += ["--lr", "1e-30", "--threads", str(self._threads), "--log", str(log)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolError(f"{self._trainer} failed: {done.stderr.strip() or done.stdout.strip()}")
        with log.open(newline="") as file:
            return [float(row["seconds"]) for row in csv.DictReader(file)]

    def _write(self, split: str, count: int, rng: np.random.Generator) -> None:
        c, h, w = self.model.input
        shape = (count, h, w) if c == 1 else (count, c, h, w)
        folder = Path(self._folder.name)
        write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", rng.integers(0, 256, shape).astype(np.uint8))
        labels = rng.integers(0, classes_of(self.model), count).astype(np.uint8)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
