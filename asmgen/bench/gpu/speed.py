"""The speed of a trainer on a GPU beside PyTorch: by the device's clock and by the wall's, and the ratios aimed at."""

from __future__ import annotations

import csv
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asmgen.bench.deadline import Runner
from asmgen.bench.tables import Table, number
from asmgen.bench.trainer import write_random
from asmgen.errors import ToolError
from asmgen.model.network import Model

OURS = "asmgen"
TORCH_ROWS = ("eager", "channels_last", "graph", "compile")
TORCH_STEPS = 256
_DATA_BYTES = 64 << 20  # of images, from which our steps come
_LEAST_STEPS, _MOST_STEPS = 256, 2048
_WARM_EPOCHS = 2

#: How much faster than a row of PyTorch, on an H200: model -> row -> at least.
GOALS = {
    "catdog": {"eager": 2.0, "graph": 1.3},
    "mnist_mlp": {"eager": 20.0, "graph": 3.0},
    "mnist_sigmoid": {"eager": 30.0, "graph": 4.0},
}
LEAST_OF_BEST = 0.75  # than PyTorch's best row, for every model


@dataclass(frozen=True)
class SpeedRow:
    """Seconds a training step of one way to train. products: "float32", "tf32" or "float64"."""

    model: str
    products: str
    name: str
    device: float
    wall: float

    @property
    def best(self) -> float:
        return min(self.device, self.wall)


@dataclass(frozen=True)
class Ratio:
    """How many times faster than one of PyTorch's rows we are, by both clocks; `goal`: what is aimed at, or None."""

    row: SpeedRow
    by_device: float
    by_wall: float
    goal: float | None

    @property
    def is_missed(self) -> bool:
        return self.goal is not None and min(self.by_device, self.by_wall) < self.goal


def steps_of(model: Model) -> int:
    """An epoch of the measurement."""
    fitting = _DATA_BYTES // (int(np.prod(model.input)) * model.batch_size)
    return min(max(_LEAST_STEPS, fitting), _MOST_STEPS)


def trainer_row(
    model: Model,
    products: str,
    trainer: Path,
    folder: Path,
    runner: Runner,
    steps: int,
    rounds: int = 5,
    prefix: tuple[str, ...] = (),
) -> SpeedRow:
    """Medians over `rounds` epochs of the trainer's own log, after warm-up.

    Gathering shuffled images, bytes to numbers, scores and the start of the epoch are included. folder: for random
    images of `steps` steps. prefix: words of the command in front of the trainer. Raises ToolError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.csv"
    validation = model.data.validation
    test = max(2 * model.batch_size, validation[2] if validation and validation[0] == "test" else 0)
    write_random(model, folder, steps * model.batch_size, test)
    # A vanishing learning rate keeps random labels from driving the weights to infinity; the work is the same.
    options = ["--epochs", _WARM_EPOCHS + rounds, "--lr", "1e-30", "--quiet", "--log", log]
    done = runner.run([*prefix, trainer, "--data", folder, *options])
    if done.code:
        raise ToolError(f"{trainer} failed: {done.last_line}")
    with log.open(newline="") as file:
        epochs = list(csv.DictReader(file))[_WARM_EPOCHS:]
    device, wall = (
        statistics.median(float(row[column]) for row in epochs) / steps for column in ("device_seconds", "seconds")
    )
    return SpeedRow(model.name, products, OURS, device, wall)


@dataclass(frozen=True)
class TorchRequest:
    """What to time in PyTorch: rows of TORCH_ROWS in these products, on "cuda" or "cpu"."""

    model_path: str
    settings: tuple[str, ...] = ()
    products: tuple[str, ...] = ("float32",)
    rows: tuple[str, ...] = TORCH_ROWS
    device: str = "cuda"
    steps: int = TORCH_STEPS
    rounds: int = 5

    def command(self) -> list[str]:
        words = [sys.executable, "-m", "asmgen.bench.gpu.torch_speed", self.model_path, "--device", self.device]
        words += ["--steps", str(self.steps), "--rounds", str(self.rounds), "--rows", ",".join(self.rows)]
        words += [word for name in self.products for word in ("--products", name)]
        return words + [word for setting in self.settings for word in ("--set", setting)]


def torch_rows(request: TorchRequest, runner: Runner, seconds: float = 600) -> tuple[list[SpeedRow], str | None]:
    """Those that came in time, and what went wrong, or None."""
    done = runner.run(request.command(), seconds)
    rows = [SpeedRow(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows, done.last_line if done.code else None


def ratios(rows: Sequence[SpeedRow]) -> list[Ratio]:
    """Of PyTorch's rows of one model and products to ours; PyTorch's fastest row has a goal of its own."""
    ours = next((row for row in rows if row.name == OURS), None)
    theirs = [row for row in rows if row.name != OURS]
    if ours is None or not theirs:
        return []
    best = min(theirs, key=lambda row: row.best)
    found = []
    for row in theirs:
        wanted = [GOALS.get(row.model, {}).get(row.name), LEAST_OF_BEST if row is best else None]
        goal = max((value for value in wanted if value is not None), default=None)
        found.append(Ratio(row, row.device / ours.device, row.wall / ours.wall, goal))
    return found


def speed_table(rows: Iterable[SpeedRow], title: str) -> Table:
    """A line a row, ours first in each group of one model and products."""
    groups: dict[tuple[str, str], list[SpeedRow]] = {}
    for row in rows:
        groups.setdefault((row.model, row.products), []).append(row)
    lines: list[tuple[str, ...]] = []
    for (model, products), group in groups.items():
        ratio_of = {ratio.row: ratio for ratio in ratios(group)}
        for row in sorted(group, key=lambda row: (OURS, *TORCH_ROWS).index(row.name)):
            name = row.name if row.name == OURS else f"PyTorch {row.name}"
            times = f"{row.device * 1e6:,.1f}", f"{row.wall * 1e6:,.1f}"
            lines.append((model, products, name, *times, *_cells(ratio_of.get(row))))
    columns = "model", "products", "who", "device us", "wall us", "by device", "by wall", "goal"
    notes = (
        "a training step; device: CUDA events around an epoch of steps; by ...: how many times faster asmgen is",
        "goals are for an H200, and the smaller of both ratios counts",
    )
    return Table(title, columns, 3, lines, notes)


def _cells(ratio: Ratio | None) -> tuple[str, str, str]:
    if ratio is None:
        return "", "", ""
    goal = "" if ratio.goal is None else f"{ratio.goal:g} {'missed' if ratio.is_missed else 'met'}"
    return f"{number(ratio.by_device)}x", f"{number(ratio.by_wall)}x", goal
