"""Dense layers as entries: forward with the activation, both gradients, the optimizer's step where it is fused."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.graph.regions import DenseForward, DenseGradient
from asmgen.ops.dense import Dense, DenseWeightGradient
from asmgen.plan import specs
from asmgen.plan.choice import activation
from asmgen.plan.draft import Draft
from asmgen.plan.layout import DenseWeights, DenseWeightsByOutput
from asmgen.plan.lower.elementwise import fused_gradient
from asmgen.plan.lower.parameters import add_parameters, dense_state_bytes, optimizer_step, state_tensors
from asmgen.plan.specs import KernelSpec


def dense_forward(draft: Draft, node: Node) -> None:
    """y = act(x W^T + b)."""
    region, label = node.op, node.label
    assert isinstance(region, DenseForward)
    layer = region.dense.op
    assert isinstance(layer, Dense)
    x = draft.value(region.dense.inputs[0])
    source, act = draft.as_rows(x), activation(region.act)
    by_input = DenseWeights(layer.units, source, draft.lanes, draft.dtype)
    y = draft.value(region.nodes[-1].outputs[0])
    target = draft.as_rows(y)
    plain = specs.DenseForward(source, by_input, target, layer.bias, act)
    gradient = _gradient_of(draft, label)
    has_dx = gradient is not None and gradient.dx is not None
    lanes = draft.dense_lanes.get(label) or draft.policy.dense_lanes(plain, has_dx)
    draft.dense_lanes[label] = lanes
    layout = by_input.by_output() if lanes == "outputs" else by_input
    stores_gradient = gradient is not None and not gradient.steps
    block = add_parameters(draft, region.dense, layout, stores_gradient=stores_gradient)
    spec: KernelSpec = plain
    if lanes != "inputs":
        spec = specs.DenseForwardByOutput(source, layout, target, layer.bias, act)
    draft.entry("forward", spec, (x, block.name, y), (y,), label)


def dense_gradient(draft: Draft, node: Node) -> None:
    """dx, then dw: with the optimizer's step, for which dx needs the old weights, or stored."""
    region, label = node.op, node.label
    assert isinstance(region, DenseGradient)
    assert isinstance(region.dw.op, DenseWeightGradient)
    layer = region.dw.op.of
    block = draft.parameters[label]
    weights = block.layout
    assert isinstance(weights, DenseWeights | DenseWeightsByOutput)
    dy = fused_gradient(draft, region.act, node) if region.act else draft.value(region.dw.inputs[1])
    if region.dx is not None:
        assert isinstance(weights, DenseWeights)
        dx = draft.value(region.dx.outputs[0])
        spec = specs.DenseBackwardInput(draft.as_rows(dy), weights, draft.as_rows(dx))
        draft.entry("backward", spec, (dy, block.name, dx), (dx,), label)
    x = draft.value(region.dw.inputs[0])
    if block.stores_gradient:
        dw = specs.DenseBackwardWeights(draft.as_rows(x), draft.as_rows(dy), weights, layer.bias)
        draft.entry("backward", dw, (x, dy, block.gradient), (block.gradient,), label)
        return
    step = optimizer_step(draft, weights.size_bytes)
    distances = dense_state_bytes(draft, step.n_states)
    update = specs.DenseBackwardWeightsStep(draft.as_rows(x), draft.as_rows(dy), weights, layer.bias, step, distances)
    states = state_tensors(draft, label)
    outputs = tuple(draft.next(name) for name in (block.name, *states))
    draft.entry("backward", update, (x, dy, block.name, "hyper"), outputs, label, also_reads=states)


def _gradient_of(draft: Draft, label: str) -> DenseGradient | None:
    """The region of a dense layer's gradients; None in a program without them."""
    found = (node.op for node in draft.graph.nodes if node.label == label)
    return next((op for op in found if isinstance(op, DenseGradient)), None)
