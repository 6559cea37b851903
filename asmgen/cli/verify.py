"""`asmgen verify`: every kernel of a model and whole training steps against the float64 reference."""

from __future__ import annotations

import json
from typing import Any

import click

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.cli.console import say
from asmgen.cli.options import MODEL, SET, isa_option, load, require_cpu, resolve_isa
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.harness.check import check_kernel
from asmgen.harness.machine import Machine
from asmgen.harness.steps import Difference, compare_steps
from asmgen.model.network import Model
from asmgen.plan.plan import Plan
from asmgen.reference.initial import initial_parameters


@click.command()
@MODEL
@isa_option(multiple=True)
@SET
@tune_options
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="Whole training steps to run.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the kernels' test data.")
@click.option("--json", "as_json", is_flag=True, help="The tables as JSON.")
def verify(
    model_path: str,
    isa_names: tuple[str, ...],
    settings: tuple[str, ...],
    tune: TuneFile,
    steps: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare every kernel of MODEL, on its own shapes, and whole training steps with the float64 reference.

    Each kernel runs on exact small integers (equal bits) and on random numbers (within a derived bound), between
    guard pages, with poisoned registers and in several slicings; then the model trains for a few steps beside the
    reference, compared after every kernel call. Exit code 1 at the first difference.

    The table: the largest relative error, in ulp where that is meaningful, and as a share of the bound that was
    derived for the kernel's sums (above 1 is a failure).
    """
    model = load(model_path, settings)
    report: list[dict[str, Any]] = []
    for name in isa_names:
        isa = resolve_isa(name)
        require_cpu(isa)
        tuning = tune.read(model, model_path, isa)
        plan = plan_for(model, isa, tuning)
        listings = emit_plan(plan, isa, tuning)
        rows = _kernels(plan, isa, listings, seed)
        rows += _steps(model, plan, isa, listings, steps)
        report += [{"isa": isa.name, **row} for row in rows]
        if not as_json:
            click.echo(f"{model.name}  {model.dtype}  {isa.name}: {len(listings)} kernels and {steps} steps agree")
            click.echo(_table(rows))
    if as_json:
        click.echo(json.dumps(report, indent=1))


def _kernels(plan: Plan, isa: Isa, listings: dict[str, Listing], seed: int) -> list[dict[str, Any]]:
    rows = []
    for spec in plan.specs():
        say(f"checking {spec.symbol(isa.name)}", level=1)
        result = check_kernel(spec, isa, seed, emit=lambda spec, isa: listings[spec.symbol(isa.name)])
        rows.append(
            {
                "what": result.symbol,
                "values": result.n_values,
                "relative": result.max_relative_error,
                "of_bound": result.worst,
            }
        )
    return rows


def _steps(model: Model, plan: Plan, isa: Isa, listings: dict[str, Listing], n_steps: int) -> list[dict[str, Any]]:
    """The worst difference of every tensor over all steps."""
    worst: dict[str, Difference] = {}
    parameters = initial_parameters(model)
    for difference in compare_steps(model, Machine(plan, isa, listings), parameters, n_steps):
        before = worst.get(difference.tensor)
        if before is None or difference.relative > before.relative:
            worst[difference.tensor] = difference
    return [
        {
            "what": f"{tensor}  ({difference.entry.layer}: {difference.entry.text}, step {difference.step})",
            "relative": difference.relative,
            "ulps": difference.ulps,
        }
        for tensor, difference in worst.items()
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    width = max(len(str(row["what"])) for row in rows)
    lines = [f"  {'':<{width}}  relative error      ulp  of bound"]
    for row in rows:
        ulps = f"{row['ulps']:9.1f}" if "ulps" in row else " " * 9
        bound = f"{row['of_bound']:9.2f}" if "of_bound" in row else ""
        lines.append(f"  {row['what']:<{width}}  {row['relative']:14.2e}{ulps}{bound}")
    return "\n".join(lines)
