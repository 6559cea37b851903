"""Concatenations as entries: one an input, each over the tensor that the others have filled so far."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.concat import ConcatGradient
from asmgen.ops.subsample import PadChannels
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.specs.concat import n_channels


def concat(draft: Draft, node: Node) -> None:
    """y = the inputs' channels, one input behind the other."""
    y = draft.layouts.home(node.outputs[0])
    layout = draft.layouts.of(y)
    before: tuple[str, ...] = ()
    c0 = 0
    for number, value in enumerate(node.inputs, start=1):
        x = draft.value(value)
        name = y if number == len(node.inputs) else f"{y}.part{number}"
        target = draft.over(name, *before) if before else draft.add(name, layout)
        spec = specs.ConcatForward(draft.layout(x), layout, c0)
        draft.entry("forward", spec, (x, target), (target,), node.label, also_reads=before)
        before, c0 = (target,), c0 + n_channels(spec.x)


def pad_channels(draft: Draft, node: Node) -> None:
    """y = the input's channels among zeros that no kernel writes, so that y shares its memory with no other tensor."""
    op = node.op
    assert isinstance(op, PadChannels)
    x, home = draft.value(node.inputs[0]), draft.layouts.home(node.outputs[0])
    y = draft.add(home, draft.layouts.of(home), owned=True)
    spec = specs.ConcatForward(draft.layout(x), draft.layout(y), op.first)
    draft.entry("forward", spec, (x, y), (y,), node.label)


def concat_gradient(draft: Draft, node: Node) -> None:
    """An input's channels of dy."""
    op = node.op
    assert isinstance(op, ConcatGradient)
    dy, dx = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    spec = specs.ConcatBackward(draft.layout(dy), draft.layout(dx), op.first)
    draft.entry("backward", spec, (dy, dx), (dx,), node.label)
