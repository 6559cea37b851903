"""Sums as entries: of activations, and of several contributions to one gradient."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import Activations


def add(draft: Draft, node: Node) -> None:
    """y = a + b + ..., two at a time, in this order, so that all programs have the same bits; in the memory of one of
    the two that nothing else reads, where it lies as y does."""
    phase = "forward" if node.op.role == "activation" else "backward"
    y, (first, *others) = draft.layouts.home(node.outputs[0]), node.inputs
    layout = draft.layouts.of(y)
    a, free = draft.value(first), [draft.value(first)] if _is_free(draft, node, first, layout) else []
    for number, value in enumerate(others, start=1):
        b = draft.value(value)
        free += [b] if _is_free(draft, node, value, layout) else []
        name = y if number == len(others) else f"{y}.sum{number}"
        total = draft.over(name, free[0]) if free else draft.add(name, layout)
        spec = specs.Add(draft.layout(a), draft.layout(b), draft.layout(total))
        draft.entry(phase, spec, (a, b, total), (total,), node.label)
        a, free = total, [total]


def _is_free(draft: Draft, node: Node, value: str, layout: Activations) -> bool:
    """Whether a sum of this layout may be written over a value: nothing else reads it, nor does the sum twice."""
    is_last = node.inputs.count(value) == 1 and draft.is_last_use(value, node)
    return is_last and draft.layouts.of(value) == layout
