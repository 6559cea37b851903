"""`asmgen tune`: times the best candidates of each kernel on this CPU and keeps what is faster in a file for builds."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from asmgen.bench.tune import Measured, TuneRow
from asmgen.cli.console import FilePath, say
from asmgen.cli.options import MODEL, SET, isa_option, load, require_cpu, resolve_isa
from asmgen.cli.tuning import beside_model
from asmgen.cli.writable import require_replaceable


@click.command()
@MODEL
@isa_option(
    multiple=True,
    instead_of_cuda="tiles are timed on CPUs only; those of CUDA kernels are chosen by estimated cycles "
    "(`asmgen show MODEL --isa cuda` lists them)",
)
@SET
@click.option("--top", type=click.IntRange(2), default=4, show_default=True, help="Tiles of each kernel that compete.")
@click.option("--rounds", type=click.IntRange(2), default=7, show_default=True, help="Rounds of A B A B.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FilePath(dir_okay=False, path_type=Path),
    help="Where the choices go.  [default: beside MODEL, where build finds them]",
)
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def tune(
    model_path: str,
    isa_names: tuple[str, ...],
    settings: tuple[str, ...],
    top: int,
    rounds: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Time the best-predicted tiles of MODEL's kernels on this CPU, and direct against Winograd's convolutions.

    What beats the cost model's choice by more than the noise is kept in a file that `asmgen build` and all other
    commands use from then on: the same file gives the same bytes, on any machine. Delete it to go back.
    """
    from asmgen.bench.tune import choices
    from asmgen.bench.tune import tune as measure
    from asmgen.emit.tuning import kept_levels, tuning_text
    from asmgen.toolchain.cpu import cpu_model

    model = load(model_path, settings)
    target = output or beside_model(model_path)
    isas = list(dict.fromkeys(resolve_isa(name) for name in isa_names))
    for isa in isas:
        require_cpu(isa)
    require_replaceable(target)
    kept_levels(target, model.name)
    report = []
    for isa in isas:
        rows = list(measure(model, isa, top, rounds, say))
        _write(target, tuning_text(target, model.name, isa, choices(rows, cpu_model())))
        report += [{"isa": isa.name, **asdict(row)} for row in rows]
        if not as_json:
            click.echo(f"{model.name}  {model.dtype}  {isa.name}  {cpu_model()}")
            click.echo("\n".join(_lines(rows)))
    if as_json:
        click.echo(json.dumps(report, indent=1))
    n_won = sum(row["winner"] > 0 for row in report)
    say(f"{target}: {n_won} of {len(report)} choices {'is' if n_won == 1 else 'are'} not the cost model's")


def _lines(rows: list[TuneRow]) -> list[str]:
    """A kernel's name on a line of its own, what won below: names and tiles are long."""
    lines = [f"  {'':<8}{'predicted':>12}{'measured':>12}  kcycles"]
    for row in rows:
        lines += [f"{row.name}  ({len(row.tried)} {row.kind})", _line("default", row.tried[0])]
        if row.winner:
            lines.append(f"{_line('best', row.best)}; {row.gain:.2f} times as fast")
    return lines


def _line(what: str, found: Measured) -> str:
    return f"  {what:<8}{found.predicted / 1e3:12,.1f}{found.cycles / 1e3:12,.1f}  {found.choice}"


def _write(target: Path, text: str) -> None:
    beside = target.with_name(f"{target.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, target)
