"""Layouts of the values that a fused graph stores, decided before any kernel is chosen.

- Images are `n C/V h w V`, with the largest halo that any of their readers wants; vectors are rows.
- The network's input is planar where only convolutions read it, rows where it is only flattened.
- A Flatten is a view: both of its values are one tensor, and its name is the image's. So is an InOrder of rows.
- Gradients have no halo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from asmgen.graph.graph import Graph, Node
from asmgen.graph.regions import ConvForward, ConvGradient
from asmgen.ops.base import Shape
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.flatten import Flatten, Unflatten
from asmgen.ops.in_order import InOrder
from asmgen.ops.load_input import LoadInput
from asmgen.ops.pool import ActivatedAvgPool, Pool
from asmgen.ops.step import Accumulate
from asmgen.plan.layout import NO_HALO, Activations, Halo, Image, Rows


@dataclass(frozen=True)
class Layouts:
    """Where values lie. `homes`: the tensor of a value that is a view; `layouts`: by tensor."""

    homes: Mapping[str, str]
    layouts: Mapping[str, Activations]
    lanes: int

    def home(self, value: str) -> str:
        """The tensor that holds a value."""
        return self.homes.get(value, value)

    def of(self, value: str) -> Activations:
        return self.layouts[self.home(value)]

    def image(self, value: str) -> Image:
        layout = self.of(value)
        assert isinstance(layout, Image), value
        return layout


def lay_out(graph: Graph, batch: int, lanes: int, dtype: str) -> Layouts:
    """The layouts of all activations and gradients of a fused graph."""
    homes = _homes(graph)
    layouts: dict[str, Activations] = {}
    for name, value in graph.values.items():
        if value.role not in ("activation", "gradient") or name in homes:
            continue
        if len(value.shape) == 1:
            layouts[name] = Rows(batch, value.shape[0], lanes, dtype)
            continue
        c, h, w = value.shape
        halo = _halo_wanted(graph, name) if value.role == "activation" else NO_HALO
        layouts[name] = Image(batch, c, h, w, lanes, dtype, halo)
    for node in graph.nodes:
        if isinstance(node.op, LoadInput):
            x = node.outputs[0]
            layouts[x] = _input_layout(graph, x, layouts[x])
        elif isinstance(node.op, Flatten):
            image, y = layouts[homes[node.outputs[0]]], node.outputs[0]
            if isinstance(image, Image) and image.halo:
                # Features lie side by side: this Flatten is a copy.
                del homes[y]
                inner = replace(image, halo=NO_HALO)
                layouts[y] = Rows(batch, graph.values[y].shape[0], lanes, dtype, inner)
        elif isinstance(node.op, InOrder) and isinstance(layouts[node.inputs[0]], Rows):
            homes[node.outputs[0]] = node.inputs[0]
            del layouts[node.outputs[0]]
        elif isinstance(node.op, Accumulate) and node.outputs[0] in homes:
            # What is added up to the gradient of a flattened image lies as that image.
            layouts.update(dict.fromkeys(node.inputs, layouts[homes[node.outputs[0]]]))
    return Layouts(homes, layouts, lanes)


def conv_halo(region: ConvForward, x: Shape, z: Shape) -> Halo:
    """How far the convolution's taps reach beyond its input, with the outputs it computes."""
    conv = region.conv.op
    assert isinstance(conv, Conv2D)
    oh, ow = computed(region, z)
    top, _, left, _ = conv.pads
    reach_h = (oh - 1) * conv.stride[0] + conv.kernel[0] - top
    reach_w = (ow - 1) * conv.stride[1] + conv.kernel[1] - left
    return Halo(top, max(0, reach_h - x[1]), left, max(0, reach_w - x[2]))


def computed(region: ConvForward, z: Shape) -> tuple[int, int]:
    """Rows and columns of the convolution's output that are computed: those that its pool reads."""
    pool = pool_of(region.pool)
    if pool is None:
        return z[1], z[2]
    (ph, pw), (sh, sw) = pool.window, pool.stride
    h, w = ((side - window) // stride for side, window, stride in zip(z[1:], (ph, pw), (sh, sw), strict=True))
    return h * sh + ph, w * sw + pw


def pool_of(node: Node | None) -> Pool | None:
    """The pool of a node of a region."""
    if node is None:
        return None
    op = node.op.pool if isinstance(node.op, ActivatedAvgPool) else node.op
    assert isinstance(op, Pool)
    return op


def _halo_wanted(graph: Graph, value: str) -> Halo:
    """The largest halo that a convolution wants around a value."""
    halo = NO_HALO
    for node in graph.consumers(value):
        if isinstance(node.op, ConvForward):
            z = graph.values[node.op.conv.outputs[0]].shape
            halo = halo.union(conv_halo(node.op, graph.values[value].shape, z))
    return halo


def _input_layout(graph: Graph, x: str, layout: Activations) -> Activations:
    """Of the network's input."""
    assert isinstance(layout, Image)
    readers = graph.consumers(x)
    if all(isinstance(reader.op, Flatten | InOrder) for reader in readers):
        return Rows(layout.n, layout.c * layout.h * layout.w, layout.block, layout.dtype)
    if all(isinstance(reader.op, ConvForward | ConvGradient) for reader in readers):
        return replace(layout, block=1)
    return layout


def _homes(graph: Graph) -> dict[str, str]:
    """View -> the image it is a view of."""
    views = {node.outputs[0]: node.inputs[0] for node in graph.nodes if isinstance(node.op, Flatten)}
    views |= {node.inputs[0]: node.outputs[0] for node in graph.nodes if isinstance(node.op, Unflatten)}
    return views
