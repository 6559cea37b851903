"""What a GPU can tell about the trainers of scripts/gpu_prepare.sh: `python -m asmgen.bench.gpu.check FOLDER`.

Checks of kernels, memory and races, parity with the CPU trainers and PyTorch, accuracy, then speed beside PyTorch; one
table last. Needs what asmgen.harness.cuda.device needs, and PyTorch to compare with. What cannot be done here is said,
not failed. Every stage ends in time, whatever hangs in it.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from asmgen.bench.deadline import Clock, Runner
from asmgen.bench.gpu.parity import BY_LAUNCHES, CheckError, Trainers, check_accuracy, check_losses, is_resident
from asmgen.bench.gpu.speed import (
    TORCH_ROWS,
    TORCH_STEPS,
    SpeedRow,
    TorchRequest,
    speed_table,
    steps_of,
    torch_rows,
    trainer_row,
)
from asmgen.bench.parity import read_split
from asmgen.bench.trainer import write_random
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.toolchain.cpu import cpu_model

#: Stage -> the second of the whole at which what still runs of it is killed. All of it takes less than nine minutes.
STAGES = {"machine": 20, "kernels": 200, "sanitizer": 270, "parity": 340, "accuracy": 390, "speed": 520}
ALARM_SECONDS = 535  # ends this program, should it hang itself
PROGRAM_SECONDS = {"kernels": 150, "sanitizer": 60, "parity": 60, "accuracy": 45, "speed": 75}
DRY_STAGES = ("machine", "parity", "speed")
SANITIZED = ("mnist_sigmoid", "lenet")
SANITIZED_TRAINERS = ("mnist_sigmoid",)  # three steps, which one kernel trains
SANITIZER_TOOLS = ("memcheck", "racecheck")
ACCURACY_SAMPLES = {"mnist": 60_000, "catdog": 4_000}  # to learn from, in whole epochs
LEAST_EPOCHS = 3

Job = tuple[str, Callable[[], str]]  # what is checked; the check, which returns what it found


@dataclass
class Findings:
    """What failed, and the rows of the last table."""

    failures: list[str] = field(default_factory=list)
    rows: list[SpeedRow] = field(default_factory=list)


@dataclass(frozen=True)
class Machine:
    """The trainers of one run. is_dry: emulated ones, PyTorch on the CPU, few steps."""

    folder: Path
    is_dry: bool

    @property
    def device(self) -> str:
        """PyTorch's name of it."""
        return "cpu" if self.is_dry else "cuda"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def trainers(self, path: Path) -> Trainers:
        """Raises CheckError where the CPU's was not carried."""
        model = load_model(str(path), {})
        cpu = next(self.folder.glob(f"float32/{model.name}/[as][vs]*/trainer"), None)
        if cpu is None:
            raise CheckError(f"{self.folder} has no CPU trainer of {model.name}; build it with scripts/gpu_prepare.sh")
        name = f"trainer{'-emulated' * self.is_dry}"
        cuda = {products: self.folder / products / model.name / "cuda" / name for products in precisions(model)}
        return Trainers(path, model, cpu, cuda, self.device)


def precisions(model: Model) -> tuple[str, ...]:
    """What --precision a model is built with."""
    return ("float32", "tf32") if model.dtype == "float32" else ("float32",)


def say(text: str) -> None:
    click.echo(text)


def do_all(jobs: Iterable[Job], found: Findings, workers: int = 1) -> None:
    """Say what each found, in their order; one that fails stops none."""
    with ThreadPoolExecutor(workers) as pool:
        started = [(name, pool.submit(check)) for name, check in jobs]
        for name, result in started:
            try:
                say(f"{name}: {result.result()}")
            except Exception as error:
                kind = "" if isinstance(error, CheckError) else f"{type(error).__name__}: "
                found.failures.append(f"{name}: {kind}{error}")
                say(f"{name}: FAILED")


def program(runner: Runner, command: list[object], seconds: float) -> str:
    """Its last line. Raises CheckError."""
    done = runner.run(command, seconds)
    if done.code:
        raise CheckError(done.last_line)
    return done.last_line


def machine_facts(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    """Names CPU, GPU, driver, nvcc and PyTorch; what is not here is said and is no failure."""
    say(f"CPU {cpu_model()}, {os.cpu_count()} cores")
    for command in (
        ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
        ["nvcc", "--version"],
        [sys.executable, "-c", "import torch; print('PyTorch', torch.__version__)"],
    ):
        done = runner.run(command) if shutil.which(command[0]) else None
        say(done.last_line if done and done.code == 0 else f"not here: {' '.join(command[:3])}")


def check_kernels(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    """Compilers run beside each other."""
    checker = [sys.executable, "-m", "asmgen.harness.cuda.device"]
    jobs = []
    for path in paths:
        for precision in precisions(load_model(str(path), {})):
            command = [*checker, path, "--precision", precision]
            job = partial(program, runner, command, PROGRAM_SECONDS["kernels"])
            jobs.append((f"{path.stem} {precision}", job))
    do_all(jobs, found, workers())


def sanitize(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    """Kernels and a short training under the tools of compute-sanitizer."""
    if shutil.which("compute-sanitizer") is None:
        return say("compute-sanitizer is not here: memory and races are not checked")

    def check(command: Callable[[str], list[object]], tool: str) -> str:
        sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
        done = runner.run([*sanitizer, *command(tool)], PROGRAM_SECONDS["sanitizer"])
        if "not supported" in done.stdout + done.stderr:
            return "not checked, compute-sanitizer does not know this device"
        if done.code:
            raise CheckError(done.last_line)
        return "nothing found"

    def kernels(path: Path, tool: str) -> list[object]:
        return [sys.executable, "-m", "asmgen.harness.cuda.device", path, "--steps", "1"]

    def training(path: Path, tool: str) -> list[object]:
        trainers, folder = machine.trainers(path), machine.scratch / f"sanitizer-{tool}" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        write_random(trainers.model, folder, 3 * trainers.model.batch_size, trainers.model.batch_size)
        return [trainers.cuda["float32"], "--data", folder, "--epochs", 1, "--quiet"]

    programs = [(path.stem, partial(kernels, path)) for path in paths if path.stem in SANITIZED]
    programs += [(f"{path.stem} trainer", partial(training, path)) for path in paths if path.stem in SANITIZED_TRAINERS]
    jobs = [(f"{name} {tool}", partial(check, command, tool)) for name, command in programs for tool in SANITIZER_TOOLS]
    return do_all(jobs, found, workers())


def compare_losses(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    def check(path: Path) -> str:
        return check_losses(machine.trainers(path), machine.scratch / "parity" / path.stem, runner)

    do_all([(path.stem, partial(check, path)) for path in paths], found, workers())


def compare_accuracies(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    """Trains each model for a few epochs, on the CPU and on the GPU, where its data was carried to this machine."""

    def check(path: Path) -> str:
        trainers = machine.trainers(path)
        name = trainers.model.data.name
        folder = machine.folder / "data" / name
        if not folder.is_dir():
            return f"not checked, {folder} was not carried"
        count = len(read_split(trainers.model, folder, "train")[1])
        epochs = max(LEAST_EPOCHS, ACCURACY_SAMPLES.get(name, 0) // count)
        return check_accuracy(trainers, folder, epochs, runner)

    do_all([(path.stem, partial(check, path)) for path in paths], found, workers())


def benchmark(paths: list[Path], machine: Machine, runner: Runner, found: Findings) -> None:
    """One at a time. What takes PyTorch long, to compile, comes last."""
    seconds = PROGRAM_SECONDS["speed"]

    def ours(path: Path, products: str, precision: str) -> str:
        trainers = machine.trainers(path)
        steps = 4 if machine.is_dry else steps_of(trainers.model)
        folder = machine.scratch / "speed" / path.stem
        measured = partial(trainer_row, trainers.model, products, trainers.cuda[precision], folder, runner, steps)
        row = measured()
        found.rows.append(row)
        text = f"{row.device * 1e6:.1f} us a step by the device's clock, {row.wall * 1e6:.1f} by the wall's"
        if not is_resident(trainers.cuda[precision], folder, runner):
            return text
        other = measured(prefix=BY_LAUNCHES)
        return f"{text}; by launches instead of resident {other.device * 1e6:.1f}, {other.wall * 1e6:.1f}"

    def theirs(path: Path, products: list[str], rows: tuple[str, ...]) -> str:
        counts = (4, 1) if machine.is_dry else (TORCH_STEPS, 3)
        request = TorchRequest(str(path), (), tuple(products), rows, machine.device, *counts)
        measured, problem = torch_rows(request, runner, seconds)
        found.rows.extend(measured)
        texts = [f"{row.name} in {row.products} {row.best * 1e6:.1f}" for row in measured]
        return ", ".join([*texts, *([problem] if problem else [])]) or "none here"

    jobs: list[Job] = []
    products_of = {}
    for path in paths:
        model = load_model(str(path), {})
        names = {precision: precision if model.dtype == "float32" else model.dtype for precision in precisions(model)}
        products_of[path] = list(names.values())
        jobs += [(f"{path.stem} {name}", partial(ours, path, name, key)) for key, name in names.items()]
    rounds = [TORCH_ROWS] if machine.is_dry else [TORCH_ROWS[:-1], TORCH_ROWS[-1:]]
    for rows in rounds if find_spec("torch") else []:
        jobs += [(f"{path.stem}, PyTorch's us", partial(theirs, path, products_of[path], rows)) for path in paths]
    do_all(jobs, found)


def workers() -> int:
    """Programs beside each other, where nothing is timed."""
    return max(1, min(10, (os.cpu_count() or 2) // 2))


WORK = dict(
    zip(
        STAGES,
        (machine_facts, check_kernels, sanitize, compare_losses, compare_accuracies, benchmark),
        strict=True,
    )
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Folder of the models.")
@click.option("--only", multiple=True, metavar="MODEL", help="Only these models.  Repeatable.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(tuple(STAGES)), help="Only these.  Repeatable.")
@click.option("--dry-run", is_flag=True, help="Emulated trainers, PyTorch on the CPU, few steps, no haste.")
def main(folder: Path, models: Path, only: tuple[str, ...], stages: tuple[str, ...], dry_run: bool) -> None:
    """Check and time what FOLDER holds. Exit code 1 where something failed."""
    paths = [path for path in sorted(models.glob("*.py")) if not only or path.stem in only]
    machine, found, clock = Machine(folder, dry_run), Findings(), Clock()
    machine.scratch.mkdir(exist_ok=True)
    signal.alarm(0 if dry_run else ALARM_SECONDS)
    for name, end in STAGES.items():
        if name not in (stages or STAGES):
            continue
        say(f"\n== {name} ({clock.elapsed():.0f} s)")
        if dry_run and name not in DRY_STAGES:
            say("not in a dry run")
            continue
        earlier = len(found.failures)
        try:
            WORK[name](paths, machine, clock.until(math.inf if dry_run else end), found)
        except Exception as error:  # the next stage may still tell something
            found.failures.append(f"{type(error).__name__}: {error}")
        found.failures[earlier:] = [f"{name}, {failure}" for failure in found.failures[earlier:]]
    shutil.rmtree(machine.scratch, ignore_errors=True)
    say(f"\n== result ({clock.elapsed():.0f} s)")
    for failure in found.failures:
        say(f"FAILED {failure}")
    say(speed_table(found.rows, "Speed").text())
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
