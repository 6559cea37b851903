"""`asmgen verify`: every kernel of a model and whole training steps against the float64 reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from asmgen.asm.isa import Isa
from asmgen.cli.console import status
from asmgen.cli.cuda import cuda_choice, precision_option
from asmgen.cli.options import CUDA_NAME, MODEL, SET, isa_option, load, require_cpu, resolve_isa
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.cuda.target import CUDA
from asmgen.emit.cuda import emit_cuda_plan
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.harness.check import check_kernel
from asmgen.harness.compare import Report
from asmgen.harness.machine import Machine, PlanMemory
from asmgen.harness.steps import TF32_TOLERANCE, Difference, compare_steps
from asmgen.model.network import Model
from asmgen.reference.initial import initial_parameters

Show = Callable[[str], None]


@click.command()
@MODEL
@isa_option(multiple=True, cuda=True)
@precision_option
@SET
@tune_options
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="Whole training steps to run.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the kernels' test data.")
@click.option("--json", "as_json", is_flag=True, help="The tables as JSON.")
def verify(
    model_path: str,
    isa_names: tuple[str, ...],
    precision: str | None,
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

    The table: the relative error of a kernel's worst value or a step's whole tensor (norms), a step's worst value in
    ulp of the tensor's largest, and the share of the bound that was derived for a kernel's sums (above 1: a failure).

    The reference is slow: a second for small networks, minutes for convolutions of some size, longer with --isa cuda,
    whose kernels run in an emulation of the GPU on one CPU thread. `--set batch=2` makes it quicker.
    """
    options = cuda_choice(isa_names, precision=precision)
    model = load(model_path, settings)
    report: list[dict[str, Any]] = []
    for name in isa_names:
        isa = None if name == CUDA_NAME else resolve_isa(name)
        with status() as show:
            checks = (
                _cpu(model, model_path, isa, tune, seed, show) if isa else _cuda(model, options.precision, seed, show)
            )
            rows = checks.kernels + _steps(model, checks, steps, show)
        report += [{"isa": checks.machine.target, **row} for row in rows]
        if not as_json:
            n_kernels = len(checks.kernels)
            click.echo(f"{model.name}  {model.dtype}  {checks.target}: {n_kernels} kernels and {steps} steps agree")
            click.echo(_table(rows))
    if as_json:
        click.echo(json.dumps(report, indent=1))


@dataclass(frozen=True)
class _Checked:
    """A target whose kernels agree: its name, their rows of the table, what runs steps, and how far those may err."""

    target: str
    kernels: list[dict[str, Any]]
    machine: PlanMemory
    tolerance: float | None = None


def _cpu(model: Model, model_path: str, isa: Isa, tune: TuneFile, seed: int, show: Show) -> _Checked:
    require_cpu(isa)
    tuning = tune.read(model, model_path, isa)
    plan = plan_for(model, isa, tuning)
    listings = emit_plan(plan, isa, tuning)

    rows = []
    for number, spec in enumerate(plan.specs(), start=1):
        show(f"{isa.name}: kernel {number} of {len(plan.specs())}, {spec.symbol(isa.name)}")
        rows.append(_row(check_kernel(spec, isa, seed, emit=lambda spec, isa: listings[spec.symbol(isa.name)])))
    return _Checked(isa.name, rows, Machine(plan, isa, listings))


def _cuda(model: Model, precision: str, seed: int, show: Show) -> _Checked:
    from asmgen.harness.cuda.check import check_cuda_kernels
    from asmgen.harness.cuda.machine import CudaMachine

    plan = plan_for(model, CUDA)
    listings = emit_cuda_plan(plan, precision)
    show(f"{CUDA.name}: {len(plan.specs())} kernels")
    rows = [_row(report) for report in check_cuda_kernels(plan.specs(), seed, precision)]
    machine = CudaMachine(plan, listings)
    target = f"{CUDA.name}, emulated on this CPU, products in {precision}"
    return _Checked(target, rows, machine, TF32_TOLERANCE if precision == "tf32" else None)


def _row(report: Report) -> dict[str, Any]:
    return {
        "what": report.symbol,
        "values": report.n_values,
        "relative": report.max_relative_error,
        "of_bound": report.worst,
    }


def _steps(model: Model, checks: _Checked, n_steps: int, show: Show) -> list[dict[str, Any]]:
    """The worst difference of every tensor over all steps."""
    worst: dict[str, Difference] = {}
    parameters = initial_parameters(model)
    for difference in compare_steps(model, checks.machine, parameters, n_steps, checks.tolerance):
        show(f"{checks.machine.target}: step {difference.step} of {n_steps}, {difference.entry.text}")
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
