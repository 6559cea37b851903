"""A plan's entries as the calls of the trainer's lists: each thread's share, chains, barriers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from asmgen.asm.isa import Isa
from asmgen.emit.trainer_model import Call
from asmgen.plan.plan import EVALUATE, Entry, Plan
from asmgen.plan.schedule import PHASES, Stage, schedule
from asmgen.tile.chain import samples_at_a_time

FEW_UNITS = 16  # an uneven share of fewer is worth dealing elsewhere


def step_calls(plan: Plan, isa: Isa) -> dict[str, tuple[Call, ...]]:
    """The calls of every phase of a training step, and of an evaluation, in execution order."""
    stages = schedule(plan.all_entries, plan.spans)
    return {
        phase: tuple(call for stage in stages.phase(phase) for call in _stage_calls(plan, stage, isa))
        for phase in (*PHASES, EVALUATE)
    }


def _stage_calls(plan: Plan, stage: Stage, isa: Isa) -> Iterator[Call]:
    """The calls of a stage, with a barrier behind the last.

    A call whose units do not go round leaves the last threads with more of them than the first. Such a remainder weighs
    where the units are few. So every second call with few units deals its shares in reverse, last thread first. Two
    calls of 3 units on 2 threads: the first gives 1 and 2, the second 2 and 1.
    """
    at_a_time = samples_at_a_time(plan, stage, isa) % plan.batch
    last, n_few = stage.entries[-1], 0
    for entry in stage.by_outputs:
        is_few = entry.spec.slice_units() < FEW_UNITS
        n_few += is_few
        yield replace(_call(entry, isa), reversed_shares=is_few and n_few % 2 == 0, barrier=entry is last)
    for entry in stage.by_samples:
        yield replace(_call(entry, isa), at_a_time=at_a_time, barrier=entry is last)


def _call(entry: Entry, isa: Isa) -> Call:
    return Call(entry.spec.symbol(isa.name), entry.args, entry.spec.slice_units(), f"{entry.layer}: {entry.text}")
