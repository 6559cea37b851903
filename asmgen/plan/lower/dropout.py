"""Entries of dropout: forward and gradient are one kernel."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.dropout import Dropout, DropoutGradient
from asmgen.plan import specs
from asmgen.plan.draft import Draft


def dropout(draft: Draft, node: Node) -> None:
    """y = x times the mask, dx = dy times it; over x or dy where nothing behind reads that."""
    op = node.op
    assert isinstance(op, Dropout | DropoutGradient)
    layer = op if isinstance(op, Dropout) else op.of
    x, target = draft.value(node.inputs[0]), draft.layouts.home(node.outputs[0])
    is_free = draft.layouts.of(target) == draft.layout(x) and draft.is_last_use(node.inputs[0], node)
    y = draft.over(target, x) if is_free and target not in draft.names else draft.value(target)
    spec = specs.Dropout(draft.layout(x), draft.layout(y), layer.p, layer.number)
    phase = "forward" if isinstance(op, Dropout) else "backward"
    draft.entry(phase, spec, (x, "loss", y), (y,), node.label)
