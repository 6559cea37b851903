"""How many threads a trainer starts with unless it is told: those whose share of a step outweighs its barriers."""

from __future__ import annotations

from collections.abc import Mapping

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.plan.plan import Plan
from asmgen.tile.candidates import predicted_cycles

MAX_THREADS = 256  # as in runtime/args.asm

#: Predicted, of a training step. With less, a second thread makes a step longer (docs/performance.md).
CYCLES_A_THREAD = 100_000


def useful_threads(plan: Plan, isa: Isa, listings: Mapping[str, Listing]) -> int:
    """1 to MAX_THREADS."""
    calls = ((entry.spec, listings[entry.spec.symbol(isa.name)]) for entry in plan.entries)
    cycles = sum(predicted_cycles(spec, isa, listing) for spec, listing in calls)
    return min(max(1, int(cycles / CYCLES_A_THREAD)), MAX_THREADS)
