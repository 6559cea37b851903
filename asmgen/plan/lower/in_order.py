"""Entries of an image's values in the order of a vector: a copy there, and one back for the gradient."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft


def in_order(draft: Draft, node: Node) -> None:
    """A copy; none of the network's input where it lies as a vector."""
    (x,), (y,) = node.inputs, node.outputs
    if draft.layouts.home(y) != y:
        return
    x, y = draft.value(x), draft.value(y)
    spec = specs.InOrderForward(draft.images(x), draft.as_rows(y))
    draft.entry("forward", spec, (x, y), (y,), node.label)


def in_order_gradient(draft: Draft, node: Node) -> None:
    """dx, pixels' channels side by side."""
    dy, dx = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    spec = specs.InOrderBackward(draft.as_rows(dy), draft.images(dx))
    draft.entry("backward", spec, (dy, dx), (dx,), node.label)
