"""`asmgen bench`: training steps of the built trainer beside its peers, interleaved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from asmgen.bench.compare import Timing, interleave
from asmgen.cli.build import build_if_stale
from asmgen.cli.console import say
from asmgen.cli.options import MODEL, OUT, SET, isa_option, load, resolve_isa, resolve_out
from asmgen.errors import UsageError

PEERS = ("torch",)


@click.command()
@MODEL
@isa_option(multiple=True)
@OUT
@SET
@click.option("--threads", default="1", show_default=True, help="Thread counts, such as 1,2.")
@click.option("--against", default="torch", show_default=True, help=f"Peers, of {', '.join(PEERS)}; none for none.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of A B A B.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Measured time of each workload a round.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def bench(
    model_path: str,
    isa_names: tuple[str, ...],
    out: Path | None,
    settings: tuple[str, ...],
    threads: str,
    against: str,
    rounds: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time whole training steps of MODEL: the trainer of each ISA, and the same model in PyTorch.

    Every round measures each workload once, in turn; the table has medians over the rounds, and how many times faster
    than the best float32 PyTorch row of the same number of threads each one is (median, least to largest).
    """
    from asmgen.bench.trainer import TrainerBench

    model = load(model_path, settings)
    peers = [] if against == "none" else against.split(",")
    if unknown := sorted(set(peers) - set(PEERS)):
        raise UsageError(f"--against {','.join(unknown)}: peers are {', '.join(PEERS)}")
    if not all(count.isdigit() and int(count) > 0 for count in threads.split(",")):
        raise UsageError(f"--threads {threads}: write whole numbers from 1, such as 1,2")
    rows: list[dict[str, Any]] = []
    for count in map(int, threads.split(",")):
        workloads: dict[str, Callable[[], float]] = {}
        for name in isa_names:
            isa = resolve_isa(name)
            trainer = build_if_stale(model, model_path, settings, isa, resolve_out(out))
            ours = TrainerBench(model, trainer, count)
            workloads[f"asmgen {isa.name}"] = lambda ours=ours: ours.seconds_per_step(seconds)  # type: ignore[misc]
        if "torch" in peers:
            workloads |= _torch_workloads(model, count, seconds)
        timings = interleave(workloads, rounds, lambda text: say(text, level=1))
        rows += _rows(timings, count, model.batch_size)
    click.echo(json.dumps(rows, indent=1) if as_json else _table(f"{model.name}, {model.dtype}", rows))


def _torch_workloads(model: Any, threads: int, seconds: float) -> dict[str, Callable[[], float]]:
    from asmgen.bench.torch_step import VARIANTS, TorchStep

    workloads: dict[str, Callable[[], float]] = {}
    for variant in VARIANTS:
        if model.dtype == "float64" and variant == "bf16":
            continue
        step = TorchStep(model, variant, threads)
        workloads[f"torch {variant}"] = lambda step=step: step.seconds_per_step(seconds)  # type: ignore[misc]
    return workloads


def _rows(timings: dict[str, Timing], threads: int, batch: int) -> list[dict[str, Any]]:
    exact = [timing for name, timing in timings.items() if name.startswith("torch") and "bf16" not in name]
    best = min(exact, key=lambda timing: timing.median, default=None)
    rows = []
    for name, timing in timings.items():
        row: dict[str, Any] = {"workload": name, "threads": threads, "ms_per_step": timing.median * 1e3}
        row["us_per_sample"] = timing.median * 1e6 / batch
        if best is not None:
            median, least, largest = best.ratio_to(timing)
            row |= {"times_faster": median, "least": least, "largest": largest, "is_best_peer": timing is best}
        rows.append(row)
    return rows


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"{title}: training step", f"{'workload':<22} threads    ms/step  us/sample  times the best float32 peer"]
    for row in rows:
        line = f"{row['workload']:<22} {row['threads']:>7} {row['ms_per_step']:>10.3f} {row['us_per_sample']:>10.1f}"
        if "times_faster" in row:
            line += f"  {row['times_faster']:.2f} ({row['least']:.2f}-{row['largest']:.2f})"
            line += "  <- best peer" if row["is_best_peer"] else ""
        lines.append(line)
    return "\n".join(lines)
