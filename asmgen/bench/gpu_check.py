"""What a GPU can tell about the trainers of scripts/gpu_prepare.sh: `python -m asmgen.bench.gpu_check FOLDER`.

Checks of kernels, memory and races, parity with the CPU trainers, accuracy, then speed beside PyTorch; one table last.
Needs what asmgen.harness.cuda_device needs, and PyTorch to compare with. What cannot be done here is said, not failed.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
import numpy as np

from asmgen.data.idx import write_idx
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.model.shapes import classes_of

BUDGET_SECONDS = 520  # of everything: what comes later is cut, and the table is printed
PARITY_STEPS = 20
PARITY_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
BENCH_STEPS, BENCH_EPOCHS = 256, 4
_STARTED = time.monotonic()
SANITIZER_TOOLS = ("memcheck", "racecheck")
ACCURACY_EPOCHS = {"mnist": 5, "catdog": 4}


@dataclass
class Findings:
    """What failed, and the rows of the last table."""

    failures: list[str] = field(default_factory=list)
    table: list[tuple[str, ...]] = field(default_factory=list)


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
    def parity_steps(self) -> int:
        return 3 if self.is_dry else PARITY_STEPS

    @property
    def bench_steps(self) -> int:
        return 4 if self.is_dry else BENCH_STEPS

    def cpu(self, model: Model) -> Path:
        (found,) = self.folder.glob(f"float32/{model.name}/[as][vs]*/trainer")
        return found

    def cuda(self, model: Model, precision: str) -> Path:
        return self.folder / precision / model.name / "cuda" / f"trainer{'-emulated' * self.is_dry}"


def precisions(model: Model) -> tuple[str, ...]:
    return ("float32", "tf32") if model.dtype == "float32" else ("float32",)


def say(text: str) -> None:
    click.echo(text)


def run(command: Sequence[object], seconds: float) -> subprocess.CompletedProcess[str]:
    """A program and what it said; one that takes longer than `seconds`, or than is left of the budget, fails."""
    words = [str(word) for word in command]
    limit = max(1.0, min(seconds, BUDGET_SECONDS - (time.monotonic() - _STARTED)))
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return subprocess.CompletedProcess(words, 124, said, f"took longer than {limit:.0f} s")


def draw_data(model: Model, folder: Path, train: int, test: int) -> Path:
    """Random images whose brightest spot tells the label."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("test", test)):
        labels = rng.integers(0, classes_of(model), count).astype(np.uint8)
        images = rng.integers(0, 128, (count, *model.input), np.uint8)
        flat = images.reshape(count, -1)
        flat[np.arange(count), labels.astype(int) * (flat.shape[1] // 16)] = 255
        write_idx(folder / f"{name}-images-idx4-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
    return folder


def drawn(model: Model, folder: Path, steps: int) -> Path:
    """Data for an epoch of `steps` steps, and a test set that holds the model's validation split."""
    validation = model.data.validation
    least_test = max(0, validation[2]) if validation and validation[0] == "test" else 0
    return draw_data(model, folder / model.name, steps * model.batch_size, max(least_test, 2 * model.batch_size))


def read_log(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def machine_facts() -> None:
    for command in (
        ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
        ["nvcc", "--version"],
        [sys.executable, "-c", "import torch; print('PyTorch', torch.__version__)"],
    ):
        done = run(command, 60) if shutil.which(command[0]) else None
        say(done.stdout.strip().splitlines()[-1] if done and done.returncode == 0 else f"no {command[0]}")


def check_kernels(models: list[Path], found: Findings) -> None:
    for path in models:
        for precision in precisions(load_model(str(path), {})):
            command = [sys.executable, "-m", "asmgen.harness.cuda_device", path, "--precision", precision]
            done = run(command, 150)
            say(done.stdout.strip() or "-")
            if done.returncode:
                found.failures.append(f"kernels of {path.stem} in {precision}: {_last(done)}")


def sanitize(models: list[Path], found: Findings) -> None:
    if shutil.which("compute-sanitizer") is None:
        return say("compute-sanitizer is not here: memory and races are not checked")
    for path in models:
        for tool in SANITIZER_TOOLS:
            command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
            program = [sys.executable, "-m", "asmgen.harness.cuda_device", path, "--steps", "1"]
            done = run([*command, *program], 120)
            if "not supported" in done.stdout + done.stderr:
                return say("compute-sanitizer does not know this device: memory and races are not checked")
            say(f"{path.stem}: {tool} {'finds nothing' if done.returncode == 0 else 'FAILED: ' + _last(done)}")
            if done.returncode:
                found.failures.append(f"{tool} of {path.stem}: {_last(done)}")
    return None


def check_parity(model: Model, machine: Machine, scratch: Path, found: Findings) -> None:
    """Losses of 20 steps and first weights against the CPU trainer; two runs, the same bits."""
    data = drawn(model, scratch / "parity", 4)
    steps = ["--epochs", machine.parity_steps, "--batch-limit", "1"]
    logs, weights = [], []
    for kind, trainer in (("cpu", machine.cpu(model)), ("gpu", machine.cuda(model, "float32"))):
        log, first = scratch / f"{kind}.csv", scratch / f"{kind}.first"
        for arguments in ([*steps, "--log", log], ["--epochs", "0", "--save", first]):
            done = run([trainer, "--data", data, "--quiet", *arguments], 120)
            if done.returncode:
                return found.failures.append(f"{model.name} on the {kind}: {_last(done)}")
        logs.append(read_log(log))
        weights.append(first.read_bytes())
    worst = max(abs(gpu["loss"] - cpu["loss"]) / abs(cpu["loss"]) for cpu, gpu in zip(*logs, strict=True))
    saved = []
    for name in ("one", "two"):
        run([machine.cuda(model, "float32"), "--data", data, "--epochs", "3", "--quiet", "--save", scratch / name], 120)
        saved.append((scratch / name).read_bytes())
    limit = PARITY_TOLERANCE[model.dtype]
    same = "same" if weights[0] == weights[1] else "OTHER"
    again = "same" if saved[0] == saved[1] else "OTHER"
    say(f"{model.name}: {machine.parity_steps} losses within {worst:.1e}, {same} first weights, {again} bits again")
    if worst > limit or "OTHER" in (same, again):
        found.failures.append(f"parity of {model.name}: {worst:.1e} (limit {limit:.0e}), {same}, {again}")
    return None


def check_accuracy(model: Model, machine: Machine, data: Path, found: Findings) -> None:
    """The last line of a few epochs on real or drawn pictures, on both machines."""
    folder = data / model.data.name
    if not folder.is_dir():
        return
    epochs = ACCURACY_EPOCHS.get(model.data.name, 3)
    for precision in precisions(model):
        trainer = machine.cuda(model, precision)
        done = run([trainer, "--data", folder, "--epochs", epochs, "--quiet"], 120)
        say(f"{model.name} {precision}, {epochs} epochs: {done.stdout.strip() or _last(done)}")
        if done.returncode:
            found.failures.append(f"accuracy of {model.name} in {precision}: {_last(done)}")


def trainer_microseconds(trainer: Path, data: Path, scratch: Path, steps: int) -> float:
    """A step of the fastest epoch but the first, by the trainer's own log: wall time, everything included."""
    log = scratch / "bench.csv"
    done = run([trainer, "--data", data, "--epochs", BENCH_EPOCHS, "--quiet", "--log", log], 120)
    if done.returncode:
        raise click.ClickException(_last(done))
    return min(row["seconds"] for row in read_log(log)[1:]) / steps * 1e6


def torch_rows(path: Path, precision: str, machine: Machine, steps: int) -> Iterator[tuple[str, float]]:
    """(name, microseconds a step, the better of event and wall time)."""
    command = [sys.executable, "-m", "asmgen.bench.torch_gpu", path, "--device", machine.device, "--steps", steps]
    done = run([*command, "--rounds", "3", *(["--tf32"] if precision == "tf32" else [])], 75)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            yield row["name"].removeprefix("torch "), min(row["event_us"], row["wall_us"])
    if done.returncode:
        say(f"PyTorch on {path.stem}: {_last(done)}")


def benchmark(path: Path, machine: Machine, scratch: Path, found: Findings) -> None:
    model, steps = load_model(str(path), {}), machine.bench_steps
    data = drawn(model, scratch / "bench", steps)
    for precision in precisions(model):
        try:
            ours = trainer_microseconds(machine.cuda(model, precision), data, scratch, steps)
        except click.ClickException as error:
            found.failures.append(f"speed of {model.name} in {precision}: {error.message}")
            continue
        rows = dict(torch_rows(path, precision, machine, steps))
        product = precision if model.dtype == "float32" else model.dtype
        others = [f"{rows[name]:.1f} ({rows[name] / ours:.2f}x)" if name in rows else "-" for name in TORCH_ROWS]
        found.table.append((model.name, product, f"{ours:.1f}", *others))
        say(f"{model.name} {product}: {ours:.1f} us a step")


TORCH_ROWS = ("eager", "channels_last", "graph", "compile")


def print_table(rows: list[tuple[str, ...]]) -> None:
    header = ("model", "products", "asmgen us", *(f"PyTorch {name} us" for name in TORCH_ROWS))
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    return lines[-1]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Folder of the models.")
@click.option("--only", multiple=True, metavar="MODEL", help="Only these models.  Repeatable.")
@click.option("--dry-run", is_flag=True, help="Emulated trainers, PyTorch on the CPU, few steps.")
def main(folder: Path, models: Path, only: tuple[str, ...], dry_run: bool) -> None:
    """Check and time what FOLDER holds. Exit code 1 where something failed."""
    paths = [path for path in sorted(models.glob("*.py")) if not only or path.stem in only]
    machine = Machine(folder, dry_run)
    found, scratch = Findings(), folder / "scratch"
    scratch.mkdir(exist_ok=True)

    def stage(name: str, work: Callable[[], object]) -> None:
        say(f"\n== {name} ({time.monotonic() - _STARTED:.0f} s)")
        try:
            work()
        except Exception as error:  # the next stage may still tell something
            found.failures.append(f"{name}: {type(error).__name__}: {error}")

    stage("machine", machine_facts)
    if not dry_run:
        stage("kernels", partial(check_kernels, paths, found))
        small = [path for path in paths if path.stem in ("mnist_sigmoid", "lenet")]
        stage("memory and races", partial(sanitize, small, found))
    for path in paths:
        model = load_model(str(path), {})
        stage(f"parity, {model.name}", partial(check_parity, model, machine, scratch, found))
        if not dry_run:
            stage(f"accuracy, {model.name}", partial(check_accuracy, model, machine, folder / "data", found))
    for path in paths:
        stage(f"speed, {path.stem}", partial(benchmark, path, machine, scratch, found))
    shutil.rmtree(scratch, ignore_errors=True)
    say(f"\n== result ({time.monotonic() - _STARTED:.0f} s)")
    for failure in found.failures:
        say(f"FAILED {failure}")
    print_table(found.table)
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
