"""Entries of batch normalisation: statistics, the pass over its input, its gradients, the running statistics."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Node
from asmgen.graph.regions import NormForward, NormGradient
from asmgen.ops.base import ElementwiseGradient
from asmgen.ops.batch_norm import BatchNorm, FrozenBatchNorm, RunningStatistics
from asmgen.plan import specs
from asmgen.plan.choice import activation
from asmgen.plan.draft import Draft
from asmgen.plan.layout import NO_HALO, Activations, ChannelVectors, Image, NormParts, NormTable, RunningVectors
from asmgen.plan.lower.parameters import add_parameters
from asmgen.plan.plan import LayerBuffers
from asmgen.plan.specs import Activation


def norm_forward(draft: Draft, node: Node) -> None:
    """The moments of the batch, or the running ones; then y, in one pass with what is added and the activation."""
    region = node.op
    assert isinstance(region, NormForward)
    norm = region.norm
    moments = _batch_moments(draft, norm) if isinstance(norm.op, BatchNorm) else _running_moments(draft, norm)
    x, y = draft.value(norm.inputs[0]), draft.value(region.nodes[-1].outputs[0])
    act = activation(region.act)
    layouts = _layout(draft, norm.inputs[0]), _layout(draft, region.nodes[-1].outputs[0])
    if region.other is None:
        draft.entry("forward", specs.BatchNormForward(*layouts, act), (x, moments, y), (y,), node.label)
        return
    spec = specs.BatchNormForward(*layouts, act, _layout(draft, region.other))
    draft.entry("forward", spec, (x, moments, draft.value(region.other), y), (y,), node.label)


def norm_gradient(draft: Draft, node: Node) -> None:
    """The gradients of weight and bias, and dx where something asks for it; a gate's gradient is part of both passes.

    dx lies in the memory of dy where nothing behind reads that.
    """
    region, label = node.op, node.label
    assert isinstance(region, NormGradient)
    dy_value, x_value = region.sums.inputs[:2]
    act = Activation()
    saved: tuple[str, ...] = ()
    if region.act is not None:
        assert isinstance(region.act.op, ElementwiseGradient)
        act, (dy_value, y) = specs.activation_of(region.act.op.of), region.act.inputs
        saved = (draft.value(y),)
    x_layout, dy_layout = _layout(draft, x_value), _layout(draft, dy_value)
    x, dy, moments = draft.value(x_value), draft.value(dy_value), draft.names[f"{label}.moments"]
    parts = draft.add(f"d_{label}.parts", NormParts.of(x_layout))
    spec = specs.BatchNormGradientParts(x_layout, dy_layout, act)
    draft.entry("backward", spec, (dy, x, moments, parts), (parts,), label, saved)

    terms = draft.add(f"d_{label}.terms", NormTable(ChannelVectors.of(x_layout), NormTable.TERMS))
    block = draft.parameters.get(label)
    dw = block.gradient if block else None
    weights = specs.BatchNormBackwardWeights(
        _without_halo(x_layout), has_scale=bool(block and block.weight), has_bias=bool(block and block.bias)
    )
    made = (dw, terms) if dw else (terms,)
    draft.entry("backward", weights, (parts, moments, dw, terms), made, label)

    if region.dx is None:
        return
    result = region.dx.outputs[0]
    dx_layout, home = _layout(draft, result), draft.layouts.home(result)
    is_free = dx_layout == dy_layout and draft.is_last_use(dy_value, node)
    dx = draft.over(home, dy) if is_free and home not in draft.names else draft.value(result)
    spec_dx = specs.BatchNormBackwardInput(x_layout, dy_layout, dx_layout, act)
    draft.entry("backward", spec_dx, (dy, x, terms, dx), (dx,), label, saved)


def running_statistics(draft: Draft, node: Node) -> None:
    """The running statistics, in place; behind the step, since nothing of it reads them."""
    op = node.op
    assert isinstance(op, RunningStatistics)
    block = draft.buffers[node.label]
    after = draft.next(block.name)
    spec = specs.BatchNormRunning(block.layout, op.momentum)
    args = (draft.names[f"{node.label}.moments"], block.name)
    draft.entry("update", spec, args, (after,), node.label)


def _batch_moments(draft: Draft, norm: Node) -> str:
    """Of the samples present: the tensor of their table."""
    op, label, x_value = norm.op, norm.label, norm.inputs[0]
    assert isinstance(op, BatchNorm)
    x, layout = draft.value(x_value), _layout(draft, x_value)
    vectors = ChannelVectors.of(layout)
    if op.scale or op.bias:
        add_parameters(draft, norm, vectors, stores_gradient=True)
    running = RunningVectors(vectors)
    kept = tuple(buffer for buffer in draft.graph.buffers if buffer.label == label)
    block = draft.buffers[label] = LayerBuffers(label, running, kept)
    draft.add(block.name, running, owned=True)

    parts = draft.add(f"{label}.parts", NormParts.of(layout))
    spec = specs.BatchNormParts(layout)
    draft.entry("forward", spec, (x, parts), (parts,), label)
    moments = draft.add(f"{label}.moments", NormTable(vectors, NormTable.MOMENTS))
    found = specs.BatchNormMoments(_without_halo(layout), op.eps, op.scale, op.bias)
    args = (parts, _weights(draft, label), "loss", moments)
    draft.entry("forward", found, args, (moments,), label)
    return moments


def _running_moments(draft: Draft, norm: Node) -> str:
    """Of all batches so far: the tensor of their table."""
    op, label = norm.op, norm.label
    assert isinstance(op, FrozenBatchNorm)
    layout = _layout(draft, norm.inputs[0])
    moments = draft.add(f"{label}.moments", NormTable(ChannelVectors.of(layout), NormTable.MOMENTS))
    spec = specs.BatchNormFrozen(_without_halo(layout), op.of.eps, op.of.scale, op.of.bias)
    args = (draft.buffers[label].name, _weights(draft, label), moments)
    draft.entry("forward", spec, args, (moments,), label)
    return moments


def _weights(draft: Draft, label: str) -> str | None:
    """The tensor of a normalisation's weight and bias, where it has any."""
    return draft.parameters[label].name if label in draft.parameters else None


def _without_halo(layout: Activations) -> Activations:
    """What tells the channels of a tensor, and the pixels of each."""
    return replace(layout, halo=NO_HALO) if isinstance(layout, Image) else layout


def _layout(draft: Draft, value: str) -> Activations:
    """Of a value: rows for a vector, though it may be the view of an image."""
    tensor = draft.value(value)
    return draft.as_rows(tensor) if len(draft.graph.values[value].shape) == 1 else draft.images(tensor)
