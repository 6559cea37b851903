"""`asmgen show`: the kernels of a model as a table, or one listing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection
from difflib import SequenceMatcher
from typing import Any

import click

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.cli.cuda import arch_option, cuda_choice, precision_option
from asmgen.cli.options import CUDA_NAME, MODEL, SET, isa_option, load, resolve_isa
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.cuda.target import CUDA
from asmgen.emit.cuda import cuda_manifest, emit_cuda, workspace_bytes
from asmgen.emit.generate import emit_plan
from asmgen.emit.manifest import manifest
from asmgen.emit.planning import plan_for
from asmgen.emit.tuning import UNTUNED
from asmgen.errors import UsageError
from asmgen.harness.size import code_bytes
from asmgen.plan.graphs import PASSES
from asmgen.plan.schedule import schedule
from asmgen.plan.specs import KernelSpec
from asmgen.tile.candidates import predicted_cycles
from asmgen.tile.cost import peak_cycles, traffic_cycles

_CLOSEST = 3  # names that are suggested for one that does not exist


@click.command()
@MODEL
@click.argument("kernel", required=False)
@isa_option(cuda=True)
@precision_option
@arch_option
@SET
@tune_options
@click.option("--plan", "show_plan", is_flag=True, help="Print the plan, its stages and the memory map instead.")
@click.option(
    "--graph",
    "graph_pass",
    type=click.Choice(list(PASSES)),
    is_flag=False,
    flag_value="fuse",
    help="Print the graph instead, as it is behind PASS (--graph alone: the last).",
    metavar="[PASS]",
)
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def show(
    model_path: str,
    kernel: str | None,
    isa_name: str,
    precision: str | None,
    arch: str | None,
    settings: tuple[str, ...],
    tune: TuneFile,
    show_plan: bool,
    graph_pass: str | None,
    as_json: bool,
) -> None:
    """List the kernels of MODEL, or print the listing of KERNEL (a symbol, or a part of one that fits only one).

    In the list, peak_kcycles are of the arithmetic at the FMA units' peak, traffic_kcycles of moving every tensor once,
    predicted_kcycles what the cost model expects.
    """
    wanted = (("KERNEL", kernel), ("--plan", show_plan), ("--graph", graph_pass), ("--json", as_json))
    wishes = [name for name, given in wanted if given]
    if len(wishes) > 1:
        raise UsageError(f"{' and '.join(wishes)} each choose what is shown; give one of them")
    options = cuda_choice((isa_name,), arch, precision)
    model = load(model_path, settings)
    if graph_pass is not None:
        click.echo(str(PASSES[graph_pass](model)))
        return
    isa = None if isa_name == CUDA_NAME else resolve_isa(isa_name)
    tuning = tune.read(model, model_path, isa) if isa else UNTUNED
    plan = plan_for(model, isa or CUDA, tuning)
    if show_plan:
        click.echo(f"{plan}\n\n{schedule(plan.all_entries, plan.spans)}\n\n{plan.memory()}")
        return
    memory = f"arena {plan.arena_bytes:,} B; parameters, activations and gradients included"
    if isa:
        listings = emit_plan(plan, isa, tuning)
        texts = {symbol: listing.text() for symbol, listing in listings.items()}
        kernels = manifest(plan, isa, listings)["kernels"]
        rows = [_row(facts, spec, listings, isa) for facts, spec in zip(kernels, plan.specs(), strict=True)]
    else:
        cuda_kernels = emit_cuda(plan, options.precision, options.arches)
        cuda_listings = cuda_kernels.listings
        texts = {symbol: listing.text for symbol, listing in cuda_listings.items()}
        rows = [_cuda_row(facts) for facts in cuda_manifest(cuda_kernels)["kernels"]]
        memory += f"; workspace {workspace_bytes(cuda_listings):,} B"
    if kernel is not None:
        text = texts[_find(texts, kernel)]
        click.echo(_highlight(text) if isa and sys.stdout.isatty() else text, nl=False)
        return
    click.echo(json.dumps(rows, indent=1) if as_json else f"{_table(rows)}\n\n{memory}")


def _cuda_row(facts: dict[str, Any]) -> dict[str, Any]:
    launches = facts["launches"]
    return {
        "kernel": facts["symbol"],
        "phase": facts["phase"],
        "layers": ", ".join(dict.fromkeys(facts["layers"])),
        "op": facts["op"],
        "tile": facts["tile"],
        "grid": " + ".join("x".join(map(str, launch["grid"])) for launch in launches),
        "block": " + ".join(str(launch["block"]) for launch in launches),
        "shared_bytes": max(launch["shared_bytes"] for launch in launches),
        "mflop": round(facts["flops"] / 1e6, 3),
        "kbytes": round((facts["bytes_read"] + facts["bytes_written"]) / 1e3, 1),
    }


def _row(facts: dict[str, Any], spec: KernelSpec, listings: dict[str, Listing], isa: Isa) -> dict[str, Any]:
    listing = listings[facts["symbol"]]
    return {
        "kernel": facts["symbol"],
        "phase": facts["phase"],
        "layers": ", ".join(dict.fromkeys(facts["layers"])),
        "op": facts["op"],
        "tile": facts["tile"],
        "registers": facts["vector_registers"],
        "code_bytes": code_bytes(listing),
        "mflop": round(facts["flops"] / 1e6, 3),
        "kbytes": round((facts["bytes_read"] + facts["bytes_written"]) / 1e3, 1),
        "peak_kcycles": round(peak_cycles(listing.facts, isa, listing.dtype) / 1e3, 1),
        "traffic_kcycles": round(traffic_cycles(listing.facts, isa) / 1e3, 1),
        "predicted_kcycles": round(predicted_cycles(spec, isa, listing) / 1e3, 1),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """The kernel's symbol on a line of its own, its facts indented below, words behind numbers: symbols are long."""
    columns = [*(name for name in rows[0] if name not in ("kernel", "tile")), "tile"]
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in columns}
    numeric = {name for name in columns if isinstance(rows[0][name], (int, float))}

    def cells(row: dict[str, Any]) -> str:
        texts = (f"{row[n]!s:>{widths[n]}}" if n in numeric else f"{row[n]!s:<{widths[n]}}" for n in columns)
        return "  " + "  ".join(texts).rstrip()

    lines = [cells({name: name for name in columns})]
    for row in rows:
        lines += [str(row["kernel"]), cells(row)]
    return "\n".join(lines)


def _find(listings: Collection[str], wanted: str) -> str:
    """The symbol among `listings` that is meant."""
    wanted = wanted.removesuffix(".asm").removesuffix(".cu")
    found = [symbol for symbol in listings if symbol == wanted] or [s for s in listings if wanted in s]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"KERNEL {wanted!r} names more than one; {len(found)} kernels contain it: {', '.join(found)}")
    near = ", ".join(_closest(listings, wanted))
    raise UsageError(f"KERNEL {wanted!r} names none of {len(listings)}; the closest are {near}; leave it out for all")


def _closest(symbols: Collection[str], wanted: str) -> list[str]:
    """The few whose beginning, as long as `wanted` (a part of a symbol is enough), is most like it."""
    return sorted(symbols, key=lambda symbol: -SequenceMatcher(None, symbol[: len(wanted)], wanted).ratio())[:_CLOSEST]


def _highlight(text: str) -> str:
    """Comments dim, labels bold, mnemonics in colour."""
    lines = []
    for line in text.splitlines():
        code, semicolon, comment = line.partition(";")
        if match := re.match(r"^(\S+:)(.*)$", code):
            code = click.style(match[1], bold=True) + match[2]
        elif match := re.match(r"^(\s+)(\w+)(.*)$", code):
            code = match[1] + click.style(match[2], fg="cyan") + match[3]
        lines.append(code + (click.style(semicolon + comment, dim=True) if semicolon else ""))
    return "\n".join(lines) + "\n"
