"""Model -> Plan: the graph of a training step, its layouts, and every node as explicit kernel calls."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Graph
from asmgen.graph.regions import StepRegion
from asmgen.model.network import Model
from asmgen.plan.arena import place, spans_apart
from asmgen.plan.choice import choose_convs
from asmgen.plan.draft import Draft
from asmgen.plan.graphs import evaluation_graph, inference_graph, training_graph
from asmgen.plan.lay_out import lay_out
from asmgen.plan.lower import lower
from asmgen.plan.lower.input_and_loss import io_tensors
from asmgen.plan.lower.parameters import parameter_blocks
from asmgen.plan.lower.sum_parts import sum_parts
from asmgen.plan.plan import EVALUATE, INFER, TRAIN, Plan, Program, program_of
from asmgen.plan.policy import Policy
from asmgen.plan.schedule import schedule

SMALL_STEP_BYTES = 8 << 20  # of all tensors: what stays near in any order, and where a barrier counts

_DEFAULT = Policy()


def build_plan(model: Model, lanes: int, policy: Policy = _DEFAULT) -> Plan:
    """The plan of a model for vectors of `lanes` elements, checked.

    Raises ModelError or UnsupportedError, with file:line of the layer, where the model does not fit together or a
    layer has no kernel.
    """
    graph = training_graph(model, fuses_steps=policy.dense_steps == "fused")
    layouts = lay_out(graph, model.batch_size, lanes, model.dtype)
    draft = Draft(model, graph, layouts, lanes, policy)
    draft.convs = choose_convs(graph, layouts, policy)
    io_tensors(draft)
    steps = [node for node in graph.nodes if isinstance(node.op, StepRegion)]
    for node in graph.nodes:
        if node not in steps:
            lower(draft, node)
    sum_parts(draft)
    blocks = parameter_blocks(draft)
    for node in steps:
        lower(draft, node)
    entries = [*draft.entries]
    entries += _forward_program(draft, EVALUATE, evaluation_graph(model)).entries
    inference = _forward_program(draft, INFER, inference_graph(model))
    entries += inference.entries
    inferred = tuple(inference.names[inference.layouts.home(name)] for name in inference.graph.results)
    tensors = tuple(draft.tensors.values())
    apart = spans_apart(tensors, blocks)
    is_small = max(end for _, end in apart.values()) <= SMALL_STEP_BYTES
    stages = schedule(entries, apart, reorder=is_small)
    offsets, arena_bytes = place(tensors, blocks, stages.stages)
    plan = Plan(
        model_name=model.name,
        lanes=lanes,
        precision=draft.precision,
        batch=draft.batch,
        programs=tuple(
            Program(name, tuple(entry for entry in stages.entries if program_of(entry.phase) == name), results)
            for name, results in ((TRAIN, ("loss",)), (EVALUATE, ("loss",)), (INFER, inferred))
        ),
        tensors=tensors,
        offsets=offsets,
        arena_bytes=arena_bytes,
        parameters=tuple(draft.parameters.values()),
        buffers=tuple(draft.buffers.values()),
        parts=draft.parts,
        updates=draft.updates,
        where={"": model.where, **{node.label: node.where for node in graph.nodes}},
    )
    plan.check()
    return plan


def _forward_program(training: Draft, name: str, graph: Graph) -> Draft:
    """The draft of a program that only runs forward, over the parameters of the training step."""
    model = training.model
    layouts = lay_out(graph, model.batch_size, training.lanes, model.dtype)
    draft = training.beside(name, graph, layouts)
    draft.convs = choose_convs(graph, layouts, training.policy)
    for label, trained in training.convs.items():
        draft.convs[label] = replace(draft.convs[label], weights=trained.weights, gradients=trained.gradients)
    for node in graph.nodes:
        lower(draft, node)
    return draft
