"""Entries of views: none, but for a Flatten of an image that has a halo."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import NO_HALO


def flatten(draft: Draft, node: Node) -> None:
    """A copy without the halo, where the image has one."""
    (x,), (y,) = node.inputs, node.outputs
    if draft.layouts.home(y) != y:
        return
    source = draft.images(draft.value(x))
    target = replace(source, halo=NO_HALO)
    draft.value(y)
    spec = specs.Conv2dUnpool(source, source, target, specs.Activation(), None)
    draft.entry("forward", spec, (x, None, None, y), (y,), node.label, "copy")


def unflatten(draft: Draft, node: Node) -> None:
    """The image's tensor is what the layer behind the Flatten wrote."""
