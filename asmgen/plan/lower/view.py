"""Entries of views: none, but for a Flatten of an image that has a halo."""

from __future__ import annotations

from dataclasses import replace

from asmgen.errors import UnsupportedError
from asmgen.graph.graph import Node
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import NO_HALO, Image, Rows


def flatten(draft: Draft, node: Node) -> None:
    """A copy without the halo, where the image has one."""
    if draft.layouts.home(node.outputs[0]) != node.outputs[0]:
        return
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    source = draft.images(x)
    target = replace(source, halo=NO_HALO)
    spec = specs.Conv2dUnpool(source, source, target, specs.Activation(), None)
    draft.entry("forward", spec, (x, None, None, y), (y,), node.label)


def joined(draft: Draft, node: Node, value: str) -> str:
    """The tensor of a value that a node joins with others.

    Raises UnsupportedError for a flattened image: its features do not lie in their order.
    """
    x = draft.value(value)
    layout = draft.layout(x)
    is_vector = len(draft.graph.values[value].shape) == 1
    if (isinstance(layout, Rows) and layout.source) or (is_vector and isinstance(layout, Image)):
        raise UnsupportedError(
            node.where, f"{node.label}: joins a flattened image with other vectors; put Flatten() behind it, or a Dense"
        )
    return x


def unflatten(draft: Draft, node: Node) -> None:
    """The image's tensor is what the layer behind the Flatten wrote."""
