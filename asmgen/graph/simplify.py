"""Rewrites that change no function: the same graph in the form that kernels are made for.

- A last Softmax or Sigmoid that the loss has in itself goes.
- A Flatten moves behind what maps each value alone, which then works on the image.
- Flattened images are added and joined as images; where one meets other vectors, is normalised or dropped
  out, it is copied into their order.
- A max pool behind a convolution goes before a monotone activation: max f(x) = f(max x), on fewer values.
- An average pool with the ReLU before it becomes one op, so that neither needs the activated values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from asmgen.graph.graph import Graph, Node, Value
from asmgen.ops.add import Add
from asmgen.ops.base import Elementwise, Site
from asmgen.ops.batch_norm import BatchNorm, FrozenBatchNorm
from asmgen.ops.concat import Concat
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.dropout import Dropout
from asmgen.ops.flatten import Flatten
from asmgen.ops.in_order import InOrder
from asmgen.ops.losses import Loss
from asmgen.ops.pool import ActivatedAvgPool, AvgPool2D, MaxPool2D, Pool

#: What reads vectors in their own order.
_OF_VECTORS = (Add, Concat, BatchNorm, FrozenBatchNorm, Dropout)
MAX_FUSED_WINDOW = 9  # accumulators of one pooled pixel; fits the 16 vector registers of SSE4.1 and AVX2
MAX_LIVE_BITS = 8  # the live bits of an average pool are one byte per pooled value


def simplify(graph: Graph) -> Graph:
    """The graph in its simplest form, checked."""
    graph = _absorb_in_loss(graph) or graph  # once: a second sigmoid is the model's own
    rewrites = (_flatten_last, _join_images, _pool_before_activation, _average_with_activation)
    while (changed := next((made for rewrite in rewrites if (made := rewrite(graph))), None)) is not None:
        graph = changed
    graph = _in_order(graph).kept()
    graph.check()
    return graph


def fits_epilogue(pool: Pool) -> bool:
    """Whether a convolution's own kernel can pool so: windows that tile, of few values."""
    return pool.is_tiling and pool.n_positions <= MAX_FUSED_WINDOW


def _pairs(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Every node whose first output has one reader, and that reader."""
    for node in graph.nodes:
        reader = graph.only_consumer(node.outputs[0])
        if reader is not None and reader.inputs[0] == node.outputs[0]:
            yield node, reader


def _absorb_in_loss(graph: Graph) -> Graph | None:
    for node, loss in _pairs(graph):
        if isinstance(loss.op, Loss) and loss.op.absorbs and isinstance(node.op, loss.op.absorbs):
            merged = replace(loss, inputs=(node.inputs[0], *loss.inputs[1:]))
            return graph.with_nodes([merged if each is loss else each for each in graph.nodes if each is not node])
    return None


def _flatten_last(graph: Graph) -> Graph | None:
    """The activation on the image, and a Flatten of its own; the old one stays for its other readers."""
    pairs = ((node, act) for node in graph.nodes for act in graph.consumers(node.outputs[0]))
    for node, act in pairs:
        if not (isinstance(node.op, Flatten) and isinstance(act.op, Elementwise)):
            continue
        image, y = graph.values[node.inputs[0]], act.outputs[0]
        between = Value(f"{y}.image", image.shape, "activation")
        first = replace(act, inputs=node.inputs, outputs=(between.name,))
        second = replace(node, inputs=(between.name,), outputs=(y,))
        is_only = graph.uses(node.outputs[0]) == 1
        nodes = [each for each in graph.nodes if each is not node or not is_only]
        at = nodes.index(act)
        return graph.with_nodes([*nodes[:at], first, second, *nodes[at + 1 :]], {between.name: between})
    return None


def _join_images(graph: Graph) -> Graph | None:
    """Flattened images that are added or joined: the images are, and the result is flattened.

    A flattened image has its channels outside, so vectors of images of one height and width are joined as they are.
    """
    for join in graph.nodes:
        if not isinstance(join.op, Add | Concat):
            continue
        flattens = [graph.producer(name) for name in join.inputs]
        if not all(node is not None and isinstance(node.op, Flatten) for node in flattens):
            continue
        images = [node.inputs[0] for node in flattens if node is not None]
        shapes = [graph.values[name].shape for name in images]
        alike = shapes if isinstance(join.op, Add) else [shape[1:] for shape in shapes]
        if len(set(alike)) > 1:
            continue
        (shape,) = join.op.out_shapes(Site(join.label, join.where), *shapes)
        (y,) = join.outputs
        between = Value(f"{y}.image", shape, "activation")
        first = replace(join, inputs=tuple(images), outputs=(between.name,))
        second = Node(Flatten(where=join.where), (between.name,), (y,), join.label, join.where)
        at = graph.nodes.index(join)
        nodes = [*graph.nodes[:at], first, second, *graph.nodes[at + 1 :]]
        return graph.with_nodes(nodes, {between.name: between}).kept()
    return None


def _in_order(graph: Graph) -> Graph:
    """A copy of each flattened image that a join still reads, or what works on features: vectors do not lie as
    images do.

    The Flatten stays for its other readers.
    """
    joins = [node for node in graph.nodes if isinstance(node.op, _OF_VECTORS)]
    nodes, values = list(graph.nodes), dict(graph.values)
    for flatten in graph.nodes:
        y = flatten.outputs[0]
        readers = [join for join in joins if y in join.inputs]
        if not isinstance(flatten.op, Flatten) or not readers:
            continue
        copy = replace(values[y], name=f"{y}.in_order")
        values[copy.name] = copy
        nodes.insert(nodes.index(flatten), replace(flatten, op=InOrder(), outputs=(copy.name,)))
        for join in readers:
            inputs = tuple(copy.name if name == y else name for name in join.inputs)
            at = joins.index(join)
            joins[at] = nodes[nodes.index(join)] = replace(join, inputs=inputs)
    return graph.with_nodes(nodes, values)


def _pool_before_activation(graph: Graph) -> Graph | None:
    for act, pool in _pairs(graph):
        if not (isinstance(act.op, Elementwise) and isinstance(pool.op, MaxPool2D) and act.op.is_monotone):
            continue
        if not (_is_conv_for(graph, act) and (fits_epilogue(pool.op) or pool.op.n_positions > 1)):
            continue
        y, codes = pool.outputs
        z = Value(f"{y}.z", graph.values[y].shape, "activation")
        first = replace(pool, inputs=act.inputs, outputs=(z.name, codes))
        second = replace(act, inputs=(z.name,), outputs=(y,))
        return graph.with_nodes(_joined(graph, act, pool, [first, second]), {z.name: z})
    return None


def _average_with_activation(graph: Graph) -> Graph | None:
    for act, pool in _pairs(graph):
        if not (isinstance(act.op, Elementwise) and isinstance(pool.op, AvgPool2D) and _is_conv_for(graph, act)):
            continue
        if not (act.op.is_fusible and act.op.is_gate):
            continue
        if not (fits_epilogue(pool.op) and pool.op.n_positions <= MAX_LIVE_BITS):
            continue
        (y,) = pool.outputs
        codes = Value(f"{y}.codes", graph.values[y].shape, "codes")
        both = Node(ActivatedAvgPool(act.op, pool.op), act.inputs, (y, codes.name), pool.label, pool.where)
        return graph.with_nodes(_joined(graph, act, pool, [both]), {codes.name: codes})
    return None


def _is_conv_for(graph: Graph, node: Node) -> bool:
    """Whether the node reads a convolution that nothing else reads."""
    producer = graph.producer(node.inputs[0])
    return producer is not None and isinstance(producer.op, Conv2D) and graph.uses(node.inputs[0]) == 1


def _joined(graph: Graph, first: Node, second: Node, by: list[Node]) -> list[Node]:
    """The nodes with `by` in the place of the second, and without the first."""
    nodes = [each for each in graph.nodes if each is not first]
    at = nodes.index(second)
    return [*nodes[:at], *by, *nodes[at + 1 :]]
