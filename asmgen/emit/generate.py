"""Writes `generated/<model>/<isa>/`: a file per kernel, trainer.asm, manifest.json. Same input, same bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.emit.manifest import manifest, manifest_text
from asmgen.emit.planning import plan_for
from asmgen.emit.trainer import render_trainer
from asmgen.emit.trainer_facts import INIT_FOLDER, init_file, trainer_model
from asmgen.emit.tuning import UNTUNED, Tuning
from asmgen.errors import ReachError
from asmgen.kernels.registry import emit_kernel
from asmgen.model.network import Model
from asmgen.model.params import read_initial
from asmgen.plan.plan import Plan
from asmgen.plan.specs import KernelSpec


@dataclass(frozen=True)
class Generated:
    """What was written where. `sources` are the .asm files to assemble, trainer.asm last."""

    plan: Plan
    isa: Isa
    listings: dict[str, Listing]
    folder: Path
    sources: tuple[Path, ...]


def emit_plan(plan: Plan, isa: Isa, tuning: Tuning = UNTUNED) -> dict[str, Listing]:
    """The listings of a plan by symbol, each distinct spec once.

    Raises ValueError where two specs share a symbol, UsageError where the tuning names a tile that cannot be,
    UnsupportedError where tensors are too large.
    """
    listings: dict[str, Listing] = {}
    for spec in plan.specs():
        symbol = spec.symbol(isa.name)
        if symbol in listings:
            raise ValueError(f"two different kernels of {plan.model_name} are called {symbol}")
        try:
            listings[symbol] = emit_tuned(spec, isa, tuning)
        except ReachError as error:
            raise plan.out_of_reach(spec, error) from error
    return listings


def emit_tuned(spec: KernelSpec, isa: Isa, tuning: Tuning) -> Listing:
    """The listing of a kernel with the tile that the tuning names, if any, and a note of where it is from."""
    listing = emit_kernel(spec, isa, tuning.tile(spec, isa))
    if not (notes := tuning.notes(spec)):
        return listing
    return replace(listing, facts=replace(listing.facts, notes=(*listing.facts.notes, *notes)))


def generate(model: Model, isa: Isa, out: Path, tuning: Tuning = UNTUNED) -> Generated:
    """Emit everything of `model` for `isa` under `out`/<model>/<isa>.

    Files of an earlier build that no longer belong are removed. A file whose text does not change keeps its time stamp,
    so that the assembler can skip it.
    """
    plan = plan_for(model, isa, tuning)
    listings = emit_plan(plan, isa, tuning)
    folder = out / model.name / isa.name
    files = {f"{symbol}.asm": listing.text() for symbol, listing in listings.items()}
    files["trainer.asm"] = render_trainer(trainer_model(model, plan, isa, listings))
    files["manifest.json"] = manifest_text(manifest(plan, isa, listings, tuning))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.asm"):
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        write_changed(folder / name, text.encode())
    write_initial_values(model, plan, folder)
    sources = tuple(folder / name for name in files if name.endswith(".asm"))
    return Generated(plan, isa, listings, folder, sources)


def write_initial_values(model: Model, plan: Plan, folder: Path) -> None:
    """Canonical values of the parameters that start from a file, for trainer.asm to include."""
    for parameters in plan.parameters:
        for parameter in parameters.parameters:
            values = read_initial(parameter)
            if values is not None:
                (folder / INIT_FOLDER).mkdir(exist_ok=True)
                write_changed(folder / init_file(parameter), np.ascontiguousarray(values, model.dtype).tobytes())


def write_changed(path: Path, content: bytes) -> None:
    """Writes a file unless it has this content."""
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
