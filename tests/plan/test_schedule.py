"""Stages: threads that are anywhere between two barriers never touch what another one writes."""

from __future__ import annotations

import dataclasses
from itertools import combinations, pairwise

import pytest
from networks import EVERY_NETWORK, NETWORKS, make

from asmgen.asm.isa import ISAS
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model
from asmgen.plan.build import build_plan
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, DenseWeights
from asmgen.plan.schedule import PHASES, Schedule, Stage, schedule
from asmgen.plan.winograd import TransformedWeights
from asmgen.tile.chain import chain_cycles, samples_at_a_time

MODELS = ["catdog", "mnist_mlp", "mnist_sigmoid", "lenet", "vgg_small"]
WEIGHTS = (ConvWeights, ConvWeightsByInput, DenseWeights, TransformedWeights)


@pytest.fixture(scope="module", params=[*MODELS, *EVERY_NETWORK])
def plan(request):
    name = request.param
    return build_plan(make(*EVERY_NETWORK[name]) if name in EVERY_NETWORK else load_model(f"models/{name}.py"), 8)


def touched(plan, entry, thread, threads):
    """[(begin, end, is written)] of arena bytes that a thread's slice of an entry may touch.

    Independent of the scheduler: by-sample tensors are cut at the samples of the slice, everything else is whole, but
    for what is written in parts of its own, where only the slice that has anything to do writes.
    """
    units = entry.spec.slice_units()
    begin, end = units * thread // threads, units * (thread + 1) // threads
    if begin == end:
        return []
    found = []
    for name in {*entry.inputs, *entry.outputs}:
        tensor, at = plan.tensor(name), plan.offsets[name]
        writes = name in entry.outputs
        if entry.spec.slice_kind() == "samples" and not isinstance(tensor.layout, WEIGHTS) and name[:3] != "wdx":
            assert units == plan.batch
            each = tensor.size_bytes // plan.batch
            found.append((at + begin * each, at + end * each, writes))
        else:
            found.append((at, at + tensor.size_bytes, writes))
    return found


def collide(plan, earlier, later, threads):
    """Whether two different threads' slices touch the same byte and one of them writes it."""
    return any(
        a_begin < b_end and b_begin < a_end and (a_writes or b_writes)
        for first in range(threads)
        for second in range(threads)
        if first != second
        for a_begin, a_end, a_writes in touched(plan, earlier, first, threads)
        for b_begin, b_end, b_writes in touched(plan, later, second, threads)
    )


def test_entries_of_a_stage_never_collide(plan):
    stages = schedule(plan.entries, plan.spans)
    stages.check(plan.spans)
    assert stages.entries == plan.entries  # so that whoever runs the plan's entries in order runs the trainer's order
    for stage in stages.stages:
        for earlier, later in combinations(stage.entries, 2):
            for threads in (2, 3, 8):
                assert not collide(plan, earlier, later, threads), (earlier.text, later.text, threads)


def test_every_barrier_is_needed(plan):
    for phase in PHASES:
        for first, second in pairwise(schedule(plan.entries, plan.spans).phase(phase)):
            joined = Schedule((Stage(phase, (*first.entries, *second.entries)),))
            with pytest.raises(ValueError, match="share a stage"):
                joined.check(plan.spans)


def test_reordering_keeps_every_dependence(plan):
    """An entry that reads or overwrites what another touched comes after it in both orders."""
    reordered = schedule(plan.entries, plan.spans, reorder=True)
    assert len(reordered.stages) <= len(schedule(plan.entries, plan.spans).stages)
    reordered.check(plan.spans)
    position = {id(entry): number for number, entry in enumerate(reordered.entries)}
    for earlier, later in combinations(plan.entries, 2):
        if collide(plan, earlier, later, 2) or collide(plan, later, earlier, 2):
            assert position[id(earlier)] < position[id(later)], (earlier.text, later.text)


def test_memory_that_two_tensors_share_needs_a_barrier():
    """Between entries that know nothing of each other, found by their bytes alone."""
    plan = build_plan(load_model("models/catdog.py"), 16)
    chain = next(stage for stage in schedule(plan.entries, plan.spans).stages if len(stage.by_samples) > 2)
    first, *_, last = chain.by_samples
    spans = dict(plan.spans)
    begin, end = spans[first.outputs[0]]
    spans[last.outputs[0]] = (end - 64, 2 * end - begin)
    with pytest.raises(ValueError, match="share a stage"):
        Schedule((chain,)).check(spans)
    assert len(schedule(chain.entries, spans).stages) == 2


@pytest.mark.parametrize("isa", ISAS.values(), ids=lambda isa: isa.name)
def test_slices_by_samples_say_so_in_both_places(isa):
    """What schedules rely on is what the header of the kernel says."""
    for layers, outputs in NETWORKS.values():
        plan = plan_for(make(layers, outputs), isa)
        listings = emit_plan(plan, isa)
        for entry in plan.entries:
            unit = listings[entry.spec.symbol(isa.name)].facts.slice_unit
            assert unit.startswith("samples") == (entry.spec.slice_kind() == "samples"), (entry.text, unit)


def test_chains_walk_as_many_samples_as_l2_holds():
    isa = ISAS["avx512"]
    big = build_plan(load_model("models/catdog.py"), 16)
    small = build_plan(load_model("models/lenet.py"), 16)
    for plan in (big, small):
        for stage in schedule(plan.entries, plan.spans).stages:
            at_a_time = samples_at_a_time(plan, stage, isa)
            assert 1 <= at_a_time <= plan.batch
            if len(stage.by_samples) > 1:
                chain = stage.by_samples
                assert chain_cycles(plan, chain, isa, at_a_time) <= chain_cycles(plan, chain, isa, plan.batch)
    chains = [stage for stage in schedule(big.entries, big.spans).stages if len(stage.by_samples) > 1]
    assert min(samples_at_a_time(big, stage, isa) for stage in chains) < big.batch
    assert all(
        samples_at_a_time(small, stage, isa) == small.batch for stage in schedule(small.entries, small.spans).stages
    )


def test_a_single_entry_is_no_chain():
    plan = build_plan(load_model("models/mnist_mlp.py"), 16)
    stage = next(stage for stage in schedule(plan.entries, plan.spans).stages if len(stage.by_samples) == 1)
    assert samples_at_a_time(plan, dataclasses.replace(stage), ISAS["avx512"]) == plan.batch
