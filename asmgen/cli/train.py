"""`asmgen train`: build if stale, run the trainer, draw the curves of its log."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from asmgen.cli.build import build_if_stale
from asmgen.cli.console import FilePath, say, verbosity
from asmgen.cli.cuda import build_cuda_if_stale, cuda_choice, cuda_options
from asmgen.cli.options import CUDA_NAME, MODEL, OUT, SET, isa_option, load, resolve_isa, resolve_out
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.cli.writable import require_picture

# Flags that the trainer itself knows; they are handed on as they are.
_NUMBERS = ("epochs", "lr", "seed", "threads", "batch-limit")
_PATHS = ("data", "save", "load", "log")


@click.command(context_settings={"show_default": False})
@MODEL
@isa_option(cuda=True)
@cuda_options
@OUT
@SET
@tune_options
@click.option("--data", metavar="DIR", help="Directory of the IDX files.")
@click.option("--epochs", metavar="N", help="Epochs instead of the model's.")
@click.option("--lr", metavar="F", help="Learning rate instead of the model's.")
@click.option("--seed", metavar="N", help="Seed instead of the model's.")
@click.option("--threads", metavar="N", help="Threads instead of as many CPUs as a step keeps busy.")
@click.option("--batch-limit", metavar="N", help="End every epoch after N batches.")
@click.option("--save", metavar="FILE", help="Write the weights there (safetensors).")
@click.option("--load", "load_file", metavar="FILE", help="Start from these weights.")
@click.option("--eval", "evaluate", is_flag=True, help="Only test; do not train.")
@click.option("--log", metavar="FILE", help="Write a line of CSV an epoch.")
@click.option("--curves", metavar="FILE.png", type=FilePath(dir_okay=False, path_type=Path), help="Draw the curves.")
def train(
    model_path: str,
    isa_name: str,
    arch: str | None,
    precision: str | None,
    emulate: bool,
    out: Path | None,
    settings: tuple[str, ...],
    tune: TuneFile,
    evaluate: bool,
    load_file: str | None,
    curves: Path | None,
    **flags: str | None,
) -> None:
    """Build MODEL if anything changed, then run its trainer with these flags (they are the trainer's own)."""
    options = cuda_choice((isa_name,), arch, precision, emulate)
    if curves:
        require_picture(curves)
    model = load(model_path, settings)
    if isa_name == CUDA_NAME:
        trainer = build_cuda_if_stale(model, model_path, settings, options, resolve_out(out))
    else:
        trainer = build_if_stale(model, model_path, settings, resolve_isa(isa_name), resolve_out(out), tune)
    with tempfile.TemporaryDirectory() as folder:
        log = flags["log"] or (str(Path(folder) / "log.csv") if curves else None)
        given = {**{key.replace("_", "-"): value for key, value in flags.items()}, "load": load_file, "log": log}
        command = [str(trainer)]
        for name in (*_PATHS, *_NUMBERS):
            if given.get(name) is not None:
                command += [f"--{name}", str(given[name])]
        command += ["--eval"] if evaluate else []
        command += ["--quiet"] if verbosity() < 0 else []
        say(" ".join(command), level=1)
        code = _run(command)
        if curves and code == 0 and log:
            _draw(Path(log), curves)
    if code:
        sys.exit(code)


def _run(command: list[str]) -> int:
    """The trainer's exit code. Ctrl-C reaches the trainer, too: it finishes its step and saves, so it is waited for."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _draw(log: Path, target: Path) -> None:
    from asmgen.cli.curves import draw_curves

    draw_curves(log, target)
    click.echo(f"curves: {target}")
