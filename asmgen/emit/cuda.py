"""Writes `generated/<model>/cuda/`: a file per kernel, trainer.cu, trainer.asm (facts only), manifest.json."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from asmgen.cuda.listing import CudaListing, Launch
from asmgen.cuda.registry import emit
from asmgen.cuda.resident import resident_kernel
from asmgen.cuda.resident.resident import PARAMETERS, Refusal, Resident
from asmgen.cuda.resident.resident_choice import decide
from asmgen.cuda.target import CUDA
from asmgen.emit.generate import write_changed, write_initial_values
from asmgen.emit.manifest import manifest_text, plan_facts
from asmgen.emit.planning import plan_for
from asmgen.emit.trainer import render_trainer
from asmgen.emit.trainer_facts import device_facts
from asmgen.errors import ReachError, UsageError
from asmgen.model.network import Model
from asmgen.paths import TEMPLATES_DIR
from asmgen.plan.layout import LINE_BYTES, round_up
from asmgen.plan.plan import Entry, Plan

TRAINER = "trainer.cu"
_STEPS = (
    ("step_forward", "images -> losses, predictions", ("forward",)),
    (
        "step_learn",
        "losses -> gradients -> parameters and what derives from them",
        ("backward", "update", "derive"),
    ),
    ("step_derive_list", "parameters -> what derives from them", ("derive",)),
    ("step_evaluate", "images -> losses, predictions; leaves nothing for gradients", ("evaluate",)),
)


# What the resident kernel's parameters are called in step_resident.
_RESIDENT_ARGUMENTS = {
    "images": "IMAGES",
    "all_labels": "feed.labels",
    "order": "feed.order",
    "rows": "feed.rows",
    "results": "feed.results",
    "params": f"AT({PARAMETERS})",
}


@dataclass(frozen=True)
class CudaKernels:
    """What a trainer is made of: `listings` by symbol, and the kernel that trains alone, or why there is none."""

    plan: Plan
    precision: str
    listings: dict[str, CudaListing]
    resident: Resident | Refusal


@dataclass(frozen=True)
class GeneratedCuda:
    """What was written where."""

    plan: Plan
    listings: dict[str, CudaListing]
    folder: Path


def emit_cuda(plan: Plan, precision: str, arches: tuple[str, ...]) -> CudaKernels:
    """The kernels of a trainer for GPUs of `arches`, the resident one last."""
    listings, resident = emit_cuda_plan(plan, precision), decide(plan, arches, precision)
    if isinstance(resident, Resident):
        listings[resident.symbol] = resident_kernel.emit(resident)
    return CudaKernels(plan, precision, listings, resident)


def emit_cuda_plan(plan: Plan, precision: str) -> dict[str, CudaListing]:
    """The listings of a plan by symbol, each distinct spec once.

    Raises UsageError for a precision that the model cannot have, ValueError where two specs share a symbol,
    UnsupportedError where tensors are too large.
    """
    if precision == "tf32" and plan.dtype != "float32":
        raise UsageError(f"--precision tf32 is for float32 models; {plan.model_name} is of {plan.dtype}")
    listings: dict[str, CudaListing] = {}
    for spec in plan.specs():
        symbol = spec.symbol(CUDA.name)
        if symbol in listings:
            raise ValueError(f"two different kernels of {plan.model_name} are called {symbol}")
        try:
            listings[symbol] = emit(spec, precision)
        except ReachError as error:
            raise plan.out_of_reach(spec, error) from error
    return listings


def generate_cuda(model: Model, precision: str, out: Path, arches: tuple[str, ...]) -> GeneratedCuda:
    """Emit everything of `model` under `out`/<model>/cuda; kernels of an earlier build that no longer belong go.

    arches: GPUs it will be compiled for (sm_80, ...).
    """
    plan = plan_for(model, CUDA)
    kernels = emit_cuda(plan, precision, arches)
    listings = kernels.listings
    folder = out / model.name / CUDA.name
    files = {f"{symbol}.cu": listing.text for symbol, listing in listings.items()}
    files[TRAINER] = render_cuda_trainer(kernels)
    files["trainer.asm"] = render_trainer(device_facts(model, plan, CUDA.name))
    files["manifest.json"] = manifest_text(cuda_manifest(kernels))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.cu"):
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        write_changed(folder / name, text.encode())
    write_initial_values(model, plan, folder)
    return GeneratedCuda(plan, listings, folder)


def render_cuda_trainer(kernels: CudaKernels) -> str:
    """The text of trainer.cu."""
    plan, listings, resident = kernels.plan, kernels.listings, kernels.resident
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES_DIR / "cuda"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("trainer.cu.j2").render(
        plan=plan,
        precision=kernels.precision,
        arena=sorted(((c_name(name), at) for name, at in plan.offsets.items()), key=lambda item: (item[1], item[0])),
        parameters=_parameters(plan),
        workspace_bytes=workspace_bytes(listings),
        sources=[f"{symbol}.cu" for symbol in listings],
        steps=[(name, comment, _lines(plan, phases, listings)) for name, comment, phases in _STEPS],
        resident=_resident_launch(listings[resident.symbol]) if isinstance(resident, Resident) else None,
        refusal=resident.reason if isinstance(resident, Refusal) else None,
    )


def _parameters(plan: Plan) -> list[tuple[int, int]]:
    """(offset, bytes) of what holds all parameters and buffers: blocks that lie side by side are one piece."""
    pieces: list[tuple[int, int]] = []
    names = [block.name for block in plan.parameters] + [kept.name for kept in plan.buffers]
    for offset, end in sorted(plan.spans[name] for name in names):
        if pieces and offset == round_up(sum(pieces[-1]), LINE_BYTES):
            offset = pieces.pop()[0]
        pieces.append((offset, end - offset))
    return pieces


def workspace_bytes(listings: dict[str, CudaListing]) -> int:
    """Of the one workspace that all kernels use in turn."""
    return max((listing.workspace_bytes for listing in listings.values()), default=0)


def cuda_manifest(kernels: CudaKernels) -> dict[str, Any]:
    """manifest.json as a JSON value."""
    plan, listings = kernels.plan, kernels.listings
    return {
        **plan_facts(plan, CUDA.name),
        "workspace_bytes": workspace_bytes(listings),
        "precision": kernels.precision,
        "kernels": [_kernel(plan, listing) for listing in listings.values()],
    }


def _lines(plan: Plan, phases: tuple[str, ...], listings: dict[str, CudaListing]) -> list[str]:
    """LAUNCH lines of some phases, with the plan's own words behind the first of every entry."""
    lines = []
    for entry in (entry for phase in phases for entry in plan.phase(phase)):
        listing = listings[entry.spec.symbol(CUDA.name)]
        comment = f"    // {entry.layer}: {entry.text}"
        for launch in listing.launches:
            lines.append(_line(launch, entry) + comment)
            comment = ""
    return lines


def _line(launch: Launch, entry: Entry) -> str:
    return f"LAUNCH({', '.join([_launch(launch), *(_argument(position, entry) for position in launch.args)])});"


def _resident_launch(listing: CudaListing) -> dict[str, str]:
    names = [argument.name for argument in listing.facts.arguments]
    arguments = ", ".join(_RESIDENT_ARGUMENTS.get(name, name) for name in names)
    return {"launch": _launch(listing.launches[0]), "arguments": arguments}


def _launch(launch: Launch) -> str:
    """What LAUNCH and CAN_RUN take in front of the arguments."""
    grid = ", ".join(map(str, launch.grid))
    grid = f"CLUSTERS({grid}, {launch.cluster})" if launch.cluster > 1 else f"GRID({grid})"
    return f"{launch.kernel}, {grid}, {launch.block}, {launch.shared_bytes}"


def _argument(position: str, entry: Entry) -> str:
    """Of a launch: "a0" .. "a3" are the entry's arguments."""
    if position == "workspace":
        return "WORKSPACE"
    number = int(position.removeprefix("a"))
    name = entry.args[number] if number < len(entry.args) else None
    if name is None:
        return "nullptr"
    return "IMAGES" if name == "images" else f"AT({c_name(name)})"


def c_name(tensor: str) -> str:
    """A tensor's name in C: `conv1_w` of `conv1.w`. Labels of a model differ in that, too (asmgen/model/trace.py)."""
    return tensor.replace(".", "_")


def _kernel(plan: Plan, listing: CudaListing) -> dict[str, Any]:
    uses = [entry for entry in plan.all_entries if entry.spec.symbol(CUDA.name) == listing.symbol]
    return {
        "symbol": listing.symbol,
        "layers": [entry.layer for entry in uses] or [parameters.label for parameters in plan.parameters],
        "phase": uses[0].phase if uses else "training",
        "op": uses[0].text if uses else "resident",
        "tile": listing.facts.tile,
        "launches": [
            {
                "kernel": launch.kernel,
                "grid": list(launch.grid),
                "block": launch.block,
                "shared_bytes": launch.shared_bytes,
                "cluster": launch.cluster,
            }
            for launch in listing.launches
        ],
        "workspace_bytes": listing.workspace_bytes,
        "flops": listing.facts.flops,
        "bytes_read": listing.facts.bytes_read,
        "bytes_written": listing.facts.bytes_written,
        "sha256": hashlib.sha256(listing.text.encode()).hexdigest(),
    }
