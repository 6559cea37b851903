"""Entries of views: none, but for a Flatten of an image that has a halo."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import NO_HALO


def flatten(draft: Draft, node: Node) -> None:
    """A copy without the halo, where the image has one."""
    if draft.layouts.home(node.outputs[0]) != node.outputs[0]:
        return
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    source = draft.images(x)
    target = replace(source, halo=NO_HALO)
    spec = specs.Conv2dUnpool(source, source, target, specs.Activation(), None)
    draft.entry("forward", spec, (x, None, None, y), (y,), node.label)


def unflatten(draft: Draft, node: Node) -> None:
    """The image's tensor is what the layer behind the Flatten wrote."""
