"""Sums as entries: of activations, and of several contributions to one gradient."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.lower.view import joined


def add(draft: Draft, node: Node) -> None:
    """y = a + b + ..., two at a time; in the memory of one that nothing else reads, where it lies as y does."""
    phase = "forward" if node.op.role == "activation" else "backward"
    y, values = draft.layouts.home(node.outputs[0]), list(node.inputs)
    layout = draft.layouts.of(y)
    free = [value for value in values if _is_free(draft, node, value) and draft.layouts.of(value) == layout]
    if free:
        values.remove(free[0])
        values.insert(0, free[0])
    of = joined if phase == "forward" else _of_gradients
    a, *others = (of(draft, node, value) for value in values)
    for number, b in enumerate(others, start=1):
        name = y if number == len(others) else f"{y}.sum{number}"
        total = draft.over(name, a) if free or number > 1 else draft.add(name, layout)
        spec = specs.Add(draft.layout(a), draft.layout(b), draft.layout(total))
        draft.entry(phase, spec, (a, b, total), (total,), node.label)
        a = total


def _of_gradients(draft: Draft, node: Node, value: str) -> str:
    """The tensor of a contribution, which lies as the sum does (asmgen/plan/lay_out.py)."""
    return draft.value(value)


def _is_free(draft: Draft, node: Node, value: str) -> bool:
    """Whether a sum may be written over a value: nothing else reads it, nor does the sum twice."""
    return node.inputs.count(value) == 1 and draft.is_last_use(value, node)
