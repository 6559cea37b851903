"""manifest.json: what was generated, kernel by kernel, without dates, paths or host names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.emit.tuning import UNTUNED, Tuning
from asmgen.plan.plan import Plan


def manifest(plan: Plan, isa: Isa, listings: dict[str, Listing], tuning: Tuning = UNTUNED) -> dict[str, Any]:
    """The manifest as a JSON value; `listings` by symbol. `tuning` is there where a tune file was used."""
    return {
        **plan_facts(plan, isa.name),
        **({"tuning": tuning.facts()} if tuning.file else {}),
        "kernels": [_kernel(plan, isa, listing) for listing in listings.values()],
    }


def plan_facts(plan: Plan, target: str) -> dict[str, Any]:
    """What the manifests of all targets begin with."""
    return {
        "model": plan.model_name,
        "isa": target,
        "dtype": plan.dtype,
        "batch": plan.batch,
        "arena_bytes": plan.arena_bytes,
        "parameters": {
            first.name.rpartition(".")[0]: list(first.shape) for first, *_ in (p.parameters for p in plan.parameters)
        },
    }


def manifest_text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def _kernel(plan: Plan, isa: Isa, listing: Listing) -> dict[str, Any]:
    uses = [entry for entry in plan.all_entries if entry.spec.symbol(isa.name) == listing.symbol]
    mnemonics = Counter(line.split()[0] for line in listing.lines if line.startswith("    ") and line[4] != ";")
    return {
        "symbol": listing.symbol,
        "layers": [entry.layer for entry in uses],
        "phase": uses[0].phase,
        "op": uses[0].text,
        "tile": listing.facts.tile,
        "vector_registers": len({register for register, _ in listing.vector_registers}),
        "instructions": listing.n_instructions,
        "flops": listing.facts.flops,
        "bytes_read": listing.facts.bytes_read,
        "bytes_written": listing.facts.bytes_written,
        "histogram": dict(sorted(mnemonics.items())),
        "sha256": hashlib.sha256(listing.text().encode()).hexdigest(),
    }
