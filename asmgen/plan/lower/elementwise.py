"""Entries of activations that are kernels of their own."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.base import ElementwiseGradient
from asmgen.plan import specs
from asmgen.plan.choice import activation
from asmgen.plan.draft import Draft
from asmgen.plan.specs import Activation


def elementwise(draft: Draft, node: Node) -> None:
    """y = f(x)."""
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    act = activation(node)
    spec = specs.ActForward(draft.layout(x), draft.layout(y), act)
    draft.entry("forward", spec, (x, y), (y,), node.label, act.kind)


def elementwise_gradient(draft: Draft, node: Node) -> None:
    """dx = dy * f'."""
    assert isinstance(node.op, ElementwiseGradient)
    dy, saved = (draft.value(name) for name in node.inputs)
    dx = draft.value(node.outputs[0])
    act = gradient_activation(node)
    spec = specs.ActBackward(draft.layout(dy), draft.layout(saved), draft.layout(dx), act)
    draft.entry("backward", spec, (dy, saved, dx), (dx,), node.label, f"d{act.kind}")


def fused_gradient(draft: Draft, node: Node, region: Node) -> str:
    """The gradient of an activation that is fused with what computes its input: its tensor.

    In the memory of dy, unless something behind the region reads that.
    """
    label = region.label
    dy, saved = (draft.value(name) for name in node.inputs)
    dz = draft.layouts.home(node.outputs[0])
    is_last = draft.is_last_use(node.inputs[0], region)
    dx = draft.over(dz, dy) if is_last else draft.add(dz, draft.layout(dy))
    act = gradient_activation(node)
    spec = specs.ActBackward(draft.layout(dy), draft.layout(saved), draft.layout(dx), act)
    draft.entry("backward", spec, (dy, saved, dx), (dx,), label, f"d{act.kind}")
    return dx


def gradient_activation(node: Node | None) -> Activation:
    """The activation whose gradient a node is; of None: none."""
    if node is None:
        return Activation()
    assert isinstance(node.op, ElementwiseGradient)
    return specs.activation_of(node.op.of)
