"""Entries of what begins and ends a forward pass: the input and the loss."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.graph.regions import LossAndGradient
from asmgen.ops.load_input import LoadInput
from asmgen.ops.losses import Loss, LossGradient
from asmgen.ops.probabilities import Probabilities
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES, round_up


def io_tensors(draft: Draft) -> None:
    """What the trainer hands to a step and reads from it."""
    element_bytes = ELEMENT_BYTES[draft.dtype]
    draft.raw("indices", 4 * draft.batch, owned=True)
    draft.raw("pixels", 8 * draft.batch, owned=True)
    draft.raw("labels", 4 * draft.batch, owned=True)
    draft.raw("loss", LINE_BYTES + round_up(element_bytes * draft.batch, LINE_BYTES) + 4 * draft.batch, owned=True)
    draft.raw("hyper", 3 * element_bytes, owned=True)


def load_input(draft: Draft, node: Node) -> None:
    """The input as numbers, unless the only layer that reads it takes the pixels."""
    op = node.op
    assert isinstance(op, LoadInput)
    if any(choice.conv.pixels for choice in draft.convs.values()):
        return
    x = draft.value(node.outputs[0])
    c, h, w = draft.model.input
    spec = specs.LoadInput(c, h, w, draft.layout(x), op.scale, op.shift)
    draft.entry("forward", spec, ("images", "indices", x), (x,), "input")


def probabilities(draft: Draft, node: Node) -> None:
    """Probabilities of the classes, a kernel of its own, laid out as what they are made of."""
    op = node.op
    assert isinstance(op, Probabilities)
    z = draft.value(node.inputs[0])
    p = draft.add(node.outputs[0], draft.as_rows(z))
    spec = specs.Probabilities(op.of.kind, draft.as_rows(z))
    draft.entry("forward", spec, (z, p), (p,), node.label)


def loss(draft: Draft, node: Node) -> None:
    """Losses and predictions, and the gradient of the logits where one is wanted."""
    region = node.op
    assert isinstance(region, LossAndGradient)
    op = region.loss.op
    assert isinstance(op, Loss)
    z = draft.value(region.loss.inputs[0])
    if not region.has_gradient:
        spec = specs.Loss(op.symbol, draft.as_rows(z), gradient=False, **op.constants())
        draft.entry("forward", spec, (z, "labels", None, "loss"), ("loss",), "loss")
        return
    spec = specs.Loss(op.symbol, draft.as_rows(z), **op.constants())
    gradient = region.the(LossGradient)
    dz = draft.add(draft.layouts.home(gradient.outputs[0]), draft.layout(z))
    draft.entry("forward", spec, (z, "labels", dz, "loss"), (dz, "loss"), "loss")
