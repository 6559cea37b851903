"""Model -> Plan: layouts of every group, then forward, backward and update as explicit kernel calls."""

from __future__ import annotations

from asmgen.model.network import Model
from asmgen.plan.arena import place, spans_apart
from asmgen.plan.backward import backward
from asmgen.plan.draft import Draft
from asmgen.plan.forward import forward
from asmgen.plan.plan import Plan
from asmgen.plan.policy import Policy
from asmgen.plan.schedule import schedule
from asmgen.plan.update import parameter_regions, update

SMALL_STEP_BYTES = 8 << 20  # of all tensors: what stays near in any order, and where a barrier counts

_DEFAULT = Policy()


def build_plan(model: Model, lanes: int, policy: Policy = _DEFAULT) -> Plan:
    """The plan of a model for vectors of `lanes` elements, checked.

    Raises ModelError or UnsupportedError, with file:line of the layer, where the model does not fit together or a
    layer has no kernel.
    """
    draft = Draft(model, lanes, policy)
    forward(draft)
    backward(draft)
    regions = parameter_regions(draft)
    update(draft)
    tensors = tuple(draft.tensors.values())
    apart = spans_apart(tensors, regions)
    is_small = max(end for _, end in apart.values()) <= SMALL_STEP_BYTES
    stages = schedule(draft.entries, apart, reorder=is_small)
    offsets, arena_bytes = place(tensors, regions, stages.stages)
    plan = Plan(
        model_name=model.name,
        lanes=lanes,
        dtype=draft.dtype,
        batch=draft.batch,
        entries=stages.entries,
        tensors=tensors,
        offsets=offsets,
        arena_bytes=arena_bytes,
        parameters=tuple(draft.parameters),
        input=draft.input,
        logits=f"y{len(draft.groups)}",
        where={"": model.where, **{group.placed.label: group.where for group in draft.groups}},
    )
    plan.check()
    return plan
