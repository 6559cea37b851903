"""Entries of activations that are kernels of their own."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.base import ElementwiseGradient
from asmgen.plan import specs
from asmgen.plan.choice import activation
from asmgen.plan.draft import Draft


def elementwise(draft: Draft, node: Node) -> None:
    """y = f(x)."""
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    act = activation(node)
    spec = specs.ActForward(draft.layout(x), draft.layout(y), act)
    draft.entry("forward", spec, (x, y), (y,), node.label)


def elementwise_gradient(draft: Draft, node: Node) -> None:
    """dx = dy * f'."""
    times_slope(draft, node, draft.value(node.outputs[0]), node.label)


def fused_gradient(draft: Draft, node: Node, region: Node) -> str:
    """The gradient of an activation that is fused with what computes its input: its tensor.

    In the memory of dy, unless something behind the region reads that.
    """
    dy = draft.value(node.inputs[0])
    dz = draft.layouts.home(node.outputs[0])
    is_last = draft.is_last_use(node.inputs[0], region)
    dx = draft.over(dz, dy) if is_last else draft.add(dz, draft.layout(dy))
    times_slope(draft, node, dx, region.label)
    return dx


def times_slope(draft: Draft, node: Node, dx: str, label: str) -> None:
    """The kernel from dy and what the activation saved to dx."""
    assert isinstance(node.op, ElementwiseGradient)
    dy, saved = (draft.value(name) for name in node.inputs)
    act = specs.activation_of(node.op.of)
    spec = specs.ActBackward(draft.layout(dy), draft.layout(saved), draft.layout(dx), act)
    draft.entry("backward", spec, (dy, saved, dx), (dx,), label)
