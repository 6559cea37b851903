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


def gradient_in_place(draft: Draft, node: Node, label: str) -> str:
    """The gradient in the memory of dy, which nothing else reads: its tensor."""
    dy, saved = (draft.layouts.home(name) for name in node.inputs)
    dx = draft.over(draft.layouts.home(node.outputs[0]), dy)
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
