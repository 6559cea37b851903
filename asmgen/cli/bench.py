"""`asmgen bench`: training and inference of the built trainer beside its peers, and the rate of each kernel."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from asmgen.asm.isa import ISAS, Isa
from asmgen.bench.suite import WORKS, measure_all
from asmgen.bench.tables import tables
from asmgen.cli.bench_cuda import bench_cuda, check_options
from asmgen.cli.build import build_if_stale
from asmgen.cli.console import say, status
from asmgen.cli.cuda import cuda_choice, precision_option
from asmgen.cli.options import CUDA_NAME, MODEL, OUT, SET, isa_option, load, resolve_out
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.errors import IsaError, UsageError
from asmgen.model.network import DTYPES, Model
from asmgen.toolchain.cpu import FEATURES, best_isa, cpu_features, missing_features
from asmgen.toolchain.tools import require_module

PEERS = ("torch", "numpy", "c", "python")
VARIANTS = "bench"  # folder of the trainers of models that were changed to measure them
_MOST_SECONDS = 3600.0


class Seconds(click.FloatRange):
    """Above 0 and at most an hour. A NaN, which compares with nothing, is outside of every range."""

    def __init__(self) -> None:
        super().__init__(0.0, _MOST_SECONDS, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value} is not in the range 0.0<x<={_MOST_SECONDS}.", param, ctx)
        return seconds


@dataclass(frozen=True)
class Request:
    """The command line: a model and what to measure of it."""

    model_path: str
    settings: tuple[str, ...]
    tune: TuneFile
    dtype: str | None
    isa_names: tuple[str, ...]
    threads: str
    against: str
    work: str
    kernels: bool
    rounds: int
    seconds: float

    def __str__(self) -> str:
        """The command that measures the same."""
        words = ["asmgen", "bench", self.model_path]
        words += [word for setting in self.settings for word in ("--set", setting)]
        words += self.tune.words()
        words += ["--dtype", self.dtype] if self.dtype else []
        words += [word for name in self.isa_names for word in ("--isa", name)]
        words += ["--threads", self.threads, "--against", self.against, "--work", self.work]
        words += ["--kernels"] if self.kernels else []
        return shlex.join([*words, "--rounds", str(self.rounds), "--seconds", f"{self.seconds:g}"])

    def peers(self) -> list[str]:
        return _choices("--against", self.against, PEERS)

    def works(self) -> list[str]:
        """`loops` is left out where nobody loops."""
        chosen = _choices("--work", self.work, tuple(WORKS))
        return [name for name in chosen if name != "loops" or {"c", "python"} & set(self.peers())]

    def counts(self) -> list[int]:
        counts = self.threads.split(",")
        if not all(count.isdigit() and int(count) > 0 for count in counts):
            raise UsageError(f"--threads {self.threads}: write whole numbers from 1, such as 1,2")
        return [int(count) for count in counts]


@click.command()
@MODEL
@isa_option(multiple=True, cuda=True)
@precision_option
@OUT
@SET
@tune_options
@click.option("--dtype", type=click.Choice(DTYPES), help="Instead of the model's.")
@click.option("--threads", default="1", show_default=True, help="Thread counts, such as 1,2.")
@click.option("--against", default="torch", show_default=True, help=f"Peers, of {','.join(PEERS)}; or none.")
@click.option("--work", default=",".join(WORKS), show_default=True, help="What is measured; or none.")
@click.option("--kernels", is_flag=True, help="Measure each kernel, too.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of A B A B.")
@click.option("--seconds", type=Seconds(), default=1.0, show_default=True, help="Measured time of each a round.")
@click.option("--json", "as_json", is_flag=True, help="The tables as JSON.")
@click.pass_context
def bench(ctx: click.Context, /, out: Path | None, as_json: bool, precision: str | None, **asked: Any) -> None:
    """Time MODEL: the trainer of each ISA beside the same model in PyTorch, in NumPy and as loops in C and Python.

    --work is any of step (a training step), inference (a batch), latency (batches of one sample) and loops (one
    product, where C or Python take part). Every round measures each once, in turn. The tables have medians over the
    rounds; "asmgen is faster by" compares with our fastest row of as many threads: median (least-largest) of the
    rounds' ratios. Loops in C and Python have one thread.

    With --isa cuda: the CUDA trainer on this machine's GPU beside PyTorch there, eager, channels_last, as a CUDA graph
    and compiled, by the device's clock and by the wall's.
    """
    request = Request(**asked)
    if "torch" in request.peers() and not find_spec("torch"):
        if ctx.get_parameter_source("against") != ParameterSource.DEFAULT:
            require_module("torch")
        say("not measured: PyTorch, which is missing here (`asmgen doctor` tells how to install it)")
        request = replace(request, against="none")
    options = cuda_choice(request.isa_names, precision=precision)
    if CUDA_NAME in request.isa_names:
        check_options(ctx, request.isa_names, request.against)
        measured = request.model_path, request.settings, options.precision, request.against, request.rounds
        click.echo(bench_cuda(*measured, resolve_out(out), as_json))
        return
    result = run(request, resolve_out(out))
    click.echo(json.dumps(result, indent=1) if as_json else "\n\n".join(table.text() for table in tables(result)))


def run(request: Request, out: Path) -> dict[str, Any]:
    """Build, measure: the result as a JSON value."""
    from asmgen.bench.host import machine, versions
    from asmgen.bench.workloads import measured_model

    peers, works, counts = request.peers(), request.works(), request.counts()
    plain = load(request.model_path, request.settings)
    model = measured_model(plain, request.dtype)
    isas, missing = _levels(request.isa_names)
    with ExitStack() as stack, status() as show:
        workloads = list(_workloads(request, plain, model, isas, out, stack)) if works else []
        rows, scaling = measure_all(workloads, counts, request.rounds, request.seconds, show)
        kernels = [_kernels(model, isa, request, show) for isa in isas] if request.kernels else []
    return {
        "command": str(request),
        "machine": machine(),
        "versions": versions(),
        "model": _facts(model),
        "missing_levels": missing,
        "peers": peers,
        "rows": [asdict(row) for row in rows],
        "scaling": [asdict(row) for row in scaling],
        "kernels": kernels,
    }


def _workloads(
    request: Request, plain: Model, model: Model, isas: list[Isa], out: Path, stack: ExitStack
) -> Iterator[Any]:
    from asmgen.bench.workloads import Built, peer_workloads, single, trainer_workloads

    works = request.works()

    def built(variant: Model, isa: Isa, folder: str) -> Path:
        where = out if variant == plain else out / VARIANTS / folder
        return build_if_stale(variant, request.model_path, request.settings, isa, where, request.tune)

    for isa in isas:
        tuning = request.tune.read(model, request.model_path, isa)
        alone = built(single(model), isa, f"{model.dtype}-batch1") if "latency" in works else None
        yield from trainer_workloads(model, Built(isa, tuning, built(model, isa, model.dtype), alone), works, stack)
    yield from peer_workloads(model, request.peers(), works)


def _kernels(model: Model, isa: Isa, request: Request, show: Callable[[str], None]) -> dict[str, Any]:
    from asmgen.bench.kernels import kernel_rows
    from asmgen.bench.peak import Peak
    from asmgen.emit.generate import emit_plan
    from asmgen.emit.planning import plan_for

    tuning = request.tune.read(model, request.model_path, isa)
    plan = plan_for(model, isa, tuning)
    peak = Peak.of(isa, model.dtype)
    listings = emit_plan(plan, isa, tuning)
    rows = kernel_rows(model, plan, isa, listings, peak, request.rounds, show)
    return {
        "isa": isa.name,
        "rows": [asdict(row) for row in rows],
        "peak_gflops": peak.gflops(),
        "core_ghz": peak.hertz / 1e9,
    }


def _facts(model: Model) -> dict[str, Any]:
    from asmgen.peers.naive import heaviest, step_macs
    from asmgen.plan.build import build_plan

    plan = build_plan(model, 4)
    return {
        "name": model.name,
        "dtype": model.dtype,
        "batch": model.batch_size,
        "optimizer": type(model.optimizer).__name__,
        "step_macs": step_macs(plan, "forward", "backward"),
        "heaviest": str(heaviest(plan)[1]),
    }


def _levels(names: tuple[str, ...]) -> tuple[list[Isa], list[dict[str, Any]]]:
    """The levels that this CPU has, and of each that it lacks what it lacks and whose figures stand in its place.

    `native` asks for the fastest level there is. Says what is not measured. Raises IsaError where nothing is left.
    """
    present, fastest_first = cpu_features(), list(FEATURES)

    def asked(name: str) -> list[str]:
        return fastest_first[: fastest_first.index(best_isa(present)) + 1] if name == "native" else [name]

    lacks = {level: missing_features(level, present) for name in names for level in asked(name)}
    missing = {level: features for level, features in lacks.items() if features}
    lacking = "; ".join(f"{level}: this CPU lacks {', '.join(features)}" for level, features in missing.items())
    if len(missing) == len(lacks):
        raise IsaError(f"--isa {lacking}; nothing is left to measure")
    if lacking:
        say(f"not measured: {lacking}")
    usable = [level for level in lacks if level not in missing]
    instead = min(usable, key=fastest_first.index)
    notes = [{"isa": level, "lacks": features, "instead": instead} for level, features in missing.items()]
    return [ISAS[level] for level in usable], notes


def _choices(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    chosen = [] if text == "none" else text.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(f"{option} {','.join(unknown)}: of {', '.join(known)}; or none")
    return chosen
