"""`asmgen profile`: where a training run spends its cycles, call by call."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from asmgen.asm.isa import Isa
from asmgen.bench.profile import Profile
from asmgen.bench.tables import Table, duration
from asmgen.cli.console import FilePath, say
from asmgen.cli.options import MODEL, OUT, SET, isa_option, load, resolve_isa, resolve_out
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.cli.writable import require_picture
from asmgen.emit.tuning import Tuning
from asmgen.model.network import Model
from asmgen.plan.schedule import PHASES

FOLDER = "profile"  # of the profiled trainers, in the folder that trainers are made in
_RANDOM_BATCHES = 32


@click.command()
@MODEL
@isa_option(
    instead_of_cuda="this profile is of CPU kernels; NVIDIA's profilers name those of a CUDA trainer: "
    "`nsys profile --stats=true TRAINER --data DIR --epochs 2`, or `ncu TRAINER ...` for what happens inside one"
)
@OUT
@SET
@tune_options
@click.option("--data", type=FilePath(file_okay=False), help="Directory of the IDX files. Without: random images.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads.")
@click.option("--steps", type=click.IntRange(2), default=100, show_default=True, help="Training steps to measure.")
@click.option("--json", "as_json", is_flag=True, help="The profile as JSON.")
@click.option("--picture", metavar="FILE.png", type=FilePath(dir_okay=False, path_type=Path), help="Draw the bars.")
def profile(
    model_path: str,
    isa_name: str,
    out: Path | None,
    settings: tuple[str, ...],
    tune: TuneFile,
    data: str | None,
    threads: int,
    steps: int,
    as_json: bool,
    picture: Path | None,
) -> None:
    """Build MODEL's trainer with a time stamp around every kernel call, train, and print the median of every call.

    Real images (--data) matter where kernels skip zeros. Times are of the first thread; waiting is for the others.
    """
    from asmgen.bench.clock import core_hertz

    if picture:
        require_picture(picture)
    isa = resolve_isa(isa_name)
    model = load(model_path, settings)
    tuning = tune.read(model, model_path, isa)
    found = _measure(model, isa, tuning, resolve_out(out) / FOLDER, data, threads, steps)
    title = f"{model.name}, {model.dtype}, {isa.name}, batch {model.batch_size}, {threads} thread{'s' * (threads > 1)}"
    if picture:
        _draw(found, title, picture)
    hertz = core_hertz(isa)
    if as_json:
        click.echo(json.dumps({"title": title, "core_ghz": hertz / 1e9, "step": found.step, **asdict(found)}, indent=1))
        return
    click.echo(_calls(found, title, hertz).text())
    click.echo(f"\n{_layers(found).text()}")


def _measure(
    model: Model, isa: Isa, tuning: Tuning, folder: Path, data: str | None, threads: int, steps: int
) -> Profile:
    from asmgen.bench.profile import link_profiled, run_profiled
    from asmgen.bench.trainer import write_random
    from asmgen.bench.workloads import measured_model
    from asmgen.emit.generate import generate
    from asmgen.toolchain.build import build_trainer

    with tempfile.TemporaryDirectory(prefix="asmgen-profile-") as scratch:
        flags = ["--threads", str(threads), "--epochs", "1000000", "--quiet"]
        if data is None:
            say("random images; --data DIR profiles real ones", level=1)
            model, data = measured_model(model), scratch
            write_random(model, Path(scratch), _RANDOM_BATCHES * model.batch_size, model.batch_size)
            flags += ["--lr", "1e-30"]  # random labels must not drive the weights to infinity
        generated = generate(model, isa, folder, tuning)
        build_trainer(generated.folder, generated.sources)
        trainer = link_profiled(generated, Path(scratch))
        return run_profiled(trainer, ["--data", data, *flags], generated.plan, isa.name, steps)


def _calls(found: Profile, title: str, hertz: float) -> Table:
    def row(layer: str, phase: str, op: str, seconds: float, waiting: float | None = None) -> tuple[str, ...]:
        share = f"{(seconds + (waiting or 0)) / found.step:.1%}"
        waited = duration(waiting) if waiting else ""
        return layer, phase, op, share, f"{seconds * hertz / 1e3:,.1f}", duration(seconds), waited

    rows = [row(call.layer, call.phase, call.op, call.seconds, call.waiting) for call in found.calls]
    rows += [row("", "", "between the calls", found.between), row("", "", "step", found.step)]
    columns = "layer", "direction", "op", "of step", "kcycles", "time", "waiting"
    return Table(f"{title}: medians of {found.n_steps} steps, {hertz / 1e9:.2f} GHz", columns, 3, rows)


def _layers(found: Profile) -> Table:
    rows = []
    for layer, seconds in found.layers().items():
        cells = (f"{seconds[phase] / found.step:.1%}" if phase in seconds else "" for phase in PHASES)
        rows.append((layer, *cells, f"{sum(seconds.values()) / found.step:.1%}"))
    return Table("By layer", ("layer", *PHASES, "all"), 1, rows)


def _draw(found: Profile, title: str, target: Path) -> None:
    from asmgen.bench.picture import draw_profile

    draw_profile(found, title, target)
    say(f"picture: {target}")
