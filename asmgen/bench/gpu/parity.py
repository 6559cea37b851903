"""A CUDA trainer's first steps beside the CPU trainer's and PyTorch's: first weights, losses, bits again, accuracy."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from asmgen.bench.deadline import Done, Runner
from asmgen.bench.parity import GENTLE_RATES, LOSS_TOLERANCE, STEPS, draw, write_split
from asmgen.errors import AsmgenError
from asmgen.model.network import Model

AGAIN_EPOCHS = 3  # of the runs whose bits are compared
CPU_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
BY_LAUNCHES = ("env", "ASMGEN_RESIDENT=0")  # in front of a trainer that could train in one kernel
ACCURACY_POINTS, ACCURACY_IMAGES = 3.0, 3  # of 100, and of the test set, that other roundings may cost or win


class CheckError(AsmgenError):
    """A check that could not be made, or what it found."""


@dataclass(frozen=True)
class Trainers:
    """Of one model: the CPU's, and the GPU's by its products; device: PyTorch's name of where it runs."""

    path: Path
    model: Model
    cpu: Path
    cuda: dict[str, Path]
    device: str


def check_losses(trainers: Trainers, folder: Path, runner: Runner) -> str:
    """Those of the trainer; where one kernel trains (docs/cuda.md), by launches too, beside the CPU's alone.

    Raises CheckError.
    """
    has_torch = find_spec("torch") is not None
    found = _check_losses(trainers, folder, runner, has_torch) + ("" if has_torch else "; PyTorch is not here")
    if not is_resident(trainers.cuda["float32"], folder, runner):
        return found
    return f"resident, {found}; by launches, {_check_losses(trainers, folder, runner, False, BY_LAUNCHES)}"


def is_resident(trainer: Path, data: Path, runner: Runner) -> bool:
    """Whether the trainer says that one kernel trains on this device. Raises CheckError."""
    return "resident training" in _run(runner, "gpu", [trainer, "--data", data, "--epochs", 0]).stdout


def _check_losses(
    trainers: Trainers, folder: Path, runner: Runner, with_torch: bool, prefix: tuple[str, ...] = ()
) -> str:
    """20 losses, first weights, and two runs' bits -> what was found. Raises CheckError where something differs."""
    model = trainers.model
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = draw(model, 2 * STEPS * model.batch_size)
    write_split(model, folder, "train", images, labels)
    write_split(model, folder, "test", images, labels) if model.data.validation else _small_test(model, folder)
    ours = (*prefix, trainers.cuda["float32"])
    rate = GENTLE_RATES.get(model.name)
    options = ["--data", folder, *(["--lr", rate] if rate else [])]

    weights, curves = [], []
    for kind, trainer in (("cpu", (trainers.cpu,)), ("gpu", ours)):
        first, log = folder / f"{kind}.safetensors", folder / f"{kind}.csv"
        _run(runner, kind, [*trainer, *options, "--quiet", "--epochs", 0, "--save", first])
        _run(runner, kind, [*trainer, *options, "--quiet", "--epochs", STEPS, "--batch-limit", 1, "--log", log])
        weights.append(first.read_bytes())
        curves.append(_losses(log))
    if weights[0] != weights[1]:
        raise CheckError("other first weights than the CPU trainer's")
    by_cpu = farthest(curves[1], curves[0])
    found = f"{STEPS} losses within {by_cpu:.1e} of the CPU trainer's"
    if not by_cpu <= CPU_TOLERANCE[model.dtype]:
        raise CheckError(f"{found}, limit {CPU_TOLERANCE[model.dtype]:.0e}")

    if with_torch:
        command = [sys.executable, "-m", "asmgen.bench.torch_parity", trainers.path, "--device", trainers.device]
        command += ["--weights", folder / "gpu.safetensors", "--data", folder, *(["--lr", rate] if rate else [])]
        done = _run(runner, "PyTorch", command)
        by_torch = farthest(curves[1], json.loads(done.stdout.splitlines()[-1]))
        found += f" and within {by_torch:.1e} of PyTorch's"
        if not by_torch <= LOSS_TOLERANCE[model.dtype]:
            raise CheckError(f"{found}, limit {LOSS_TOLERANCE[model.dtype]:.0e}")

    saved = []
    for name in ("one", "two"):
        limits = ["--epochs", AGAIN_EPOCHS, "--batch-limit", STEPS]
        _run(runner, "gpu", [*ours, *options, "--quiet", *limits, "--save", folder / name])
        saved.append((folder / name).read_bytes())
    if saved[0] != saved[1]:
        raise CheckError(f"{found}, but two runs gave different bits")
    return f"{found}; same first weights; the same bits again"


def check_accuracy(trainers: Trainers, data: Path, epochs: int, runner: Runner) -> str:
    """A few epochs on real or drawn pictures, by the CPU and in all products -> their accuracies. Raises CheckError."""
    command = ["--data", data, "--epochs", epochs, "--quiet"]
    reference, count = _accuracy(_run(runner, "cpu", [trainers.cpu, *command]))
    found, worst = [f"cpu {reference:.2f}%"], 0.0
    limit = ACCURACY_POINTS + 100 * ACCURACY_IMAGES / count
    for products, trainer in trainers.cuda.items():
        accuracy, _ = _accuracy(_run(runner, products, [trainer, *command]))
        found.append(f"{products} {accuracy:.2f}%")
        worst = max(worst, abs(accuracy - reference))
    text = f"accuracy after {epochs} epochs: {', '.join(found)}"
    if worst > limit:
        raise CheckError(f"{text}: more than {limit:.1f} points apart")
    return text


def farthest(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference; not a number where a loss is none."""
    assert len(ours) == len(theirs) == STEPS
    differences = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return max(differences, key=lambda value: (value != value, value))


def _small_test(model: Model, folder: Path) -> None:
    write_split(model, folder, "test", *draw(model, model.batch_size))


def _run(runner: Runner, who: str, command: Sequence[object]) -> Done:
    done = runner.run(command)
    if done.code:
        raise CheckError(f"{who}: {done.last_line}")
    return done


def _losses(log: Path) -> list[float]:
    with log.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def _accuracy(done: Done) -> tuple[float, int]:
    """(percent, of how many images), of "test accuracy 97.50% (390/400)"."""
    found = re.search(r"accuracy ([\d.]+)% \(\d+/(\d+)\)", done.stdout)
    if not found:
        raise CheckError(f"no accuracy in {done.last_line!r}")
    return float(found[1]), int(found[2])
