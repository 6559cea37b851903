"""Fusion: nodes become regions by pattern and by number of consumers. A value inside a region is never stored.

- A convolution takes the pool and the activation behind it where nothing else reads what it computes. A max pool of
  any window belongs to it, since the gradients need no more than its codes.
- A dense layer takes the activation behind it.
- A batch normalisation takes the sum of its output and another value, and a gate behind either, such as a ReLU.
- The gradients of what is fused are fused.
- A dense weight gradient takes the optimizer's step where that is wanted and nothing else reads the gradient.
- All other steps are one.
"""

from __future__ import annotations

from collections.abc import Callable

from asmgen.graph.graph import Graph, Node
from asmgen.graph.regions import (
    POOL_GRADIENTS,
    ConvForward,
    ConvGradient,
    DenseForward,
    DenseGradient,
    LossAndGradient,
    NormForward,
    NormGradient,
    Region,
    StepRegion,
    region,
)
from asmgen.graph.simplify import fits_epilogue
from asmgen.ops.add import Add
from asmgen.ops.base import Elementwise, ElementwiseGradient, Op
from asmgen.ops.batch_norm import BatchNorm, BatchNormInputGradient, BatchNormSums, FrozenBatchNorm
from asmgen.ops.conv2d import Conv2D, Conv2DInputGradient, Conv2DWeightGradient
from asmgen.ops.dense import Dense, DenseInputGradient, DenseWeightGradient
from asmgen.ops.losses import Loss, LossGradient
from asmgen.ops.pool import ActivatedAvgPool, MaxPool2D, Pool
from asmgen.ops.step import Step

#: (kind, nodes, the one that names the region, the last of them) makes a region.
Take = Callable[[type[Region], list[Node], Node, Node], None]


def fuse(graph: Graph, *, fuses_steps: bool = True) -> Graph:
    """The graph with its regions, checked. fuses_steps: dense weight gradients take the optimizer's steps."""
    taken: dict[int, Node] = {}  # id of the last member -> the region that stands there
    gone: set[int] = set()

    def take(kind: type[Region], nodes: list[Node], at: Node, last: Node) -> None:
        taken[id(last)] = region(kind, nodes, at, graph)
        gone.update(id(node) for node in nodes)

    heads = (Conv2D, Dense, BatchNorm, FrozenBatchNorm, Loss)
    forward = [node for node in graph.nodes if isinstance(node.op, heads)]
    for node in forward:
        members = [node]
        match node.op:
            case Conv2D():
                members += _behind_conv(graph, node)
                take(ConvForward, members, node, members[-1])
                _gradient(graph, members, ConvGradient, (Conv2DInputGradient, Conv2DWeightGradient), take)
            case Dense():
                members += _activation(graph, node.outputs[0])
                take(DenseForward, members, node, members[-1])
                products = (DenseInputGradient, DenseWeightGradient)
                _gradient(graph, members, DenseGradient, products, take, takes_steps=fuses_steps)
            case BatchNorm() | FrozenBatchNorm():
                sums = _sum(graph, node)
                members += sums if not any(id(each) in gone for each in sums) else []
                members += _activation(graph, members[-1].outputs[0], gates_only=True)
                take(NormForward, members, node, members[-1])
                if len(members) > 1 and isinstance(members[1].op, Add):
                    members = members[:1]  # the sum's gradient is another layer's, too: it has an entry of its own
                _gradient(graph, members, NormGradient, (BatchNormSums, BatchNormInputGradient), take)
            case Loss():
                members += [other for other in graph.nodes if isinstance(other.op, LossGradient)]
                take(LossAndGradient, members, node, members[-1])
    steps = [node for node in graph.nodes if isinstance(node.op, Step) and id(node) not in gone]
    if steps:
        take(StepRegion, steps, steps[0], steps[-1])
    nodes = [taken.get(id(node), node) for node in graph.nodes if id(node) in taken or id(node) not in gone]
    fused = graph.with_nodes(nodes)
    fused.check()
    return fused


def _behind_conv(graph: Graph, conv: Node) -> list[Node]:
    """The pool and the activation that belong to a convolution."""
    reader = graph.only_consumer(conv.outputs[0])
    if reader is None:
        return []
    if isinstance(reader.op, Elementwise):
        return _activation(graph, conv.outputs[0])
    if isinstance(reader.op, ActivatedAvgPool):
        return [reader]
    if not isinstance(reader.op, Pool):
        return []
    is_max = isinstance(reader.op, MaxPool2D)
    if not (fits_epilogue(reader.op) or (is_max and reader.op.n_positions > 1)):
        return []
    return [reader, *(_activation(graph, reader.outputs[0]) if is_max else [])]


def _sum(graph: Graph, norm: Node) -> list[Node]:
    """The sum of two values of which a normalisation's output is one, where nothing else reads that."""
    reader = graph.only_consumer(norm.outputs[0])
    if reader is None or not isinstance(reader.op, Add) or len(set(reader.inputs)) != 2 or len(reader.inputs) != 2:
        return []
    return [reader]


def _activation(graph: Graph, value: str, *, gates_only: bool = False) -> list[Node]:
    """The activation that a kernel applies to its sums, where nothing else reads them.

    gates_only: of those whose slope the sign of y tells.
    """
    reader = graph.only_consumer(value)
    if reader is None or not isinstance(reader.op, Elementwise) or not reader.op.is_fusible:
        return []
    return [reader] if reader.op.is_gate or not gates_only else []


def _gradient(
    graph: Graph,
    forward: list[Node],
    kind: type[Region],
    products: tuple[type[Op], ...],
    take: Take,
    *,
    takes_steps: bool = False,
) -> None:
    """The region of the gradients of a forward region, if the graph has them."""
    labels = {node.label for node in forward[1:]}
    mine = [node for node in graph.nodes if node.label == forward[0].label and isinstance(node.op, products)]
    if not mine:
        return
    wide = (ElementwiseGradient, *POOL_GRADIENTS)
    before = [node for node in graph.nodes if node.label in labels and isinstance(node.op, wide)]
    last = mine[-1]
    steps = _steps(graph, last) if takes_steps else []
    take(kind, [*before, *mine, *steps], last, last)


def _steps(graph: Graph, dw: Node) -> list[Node]:
    """The steps that are the only readers of a weight gradient; none unless all of its parts have one."""
    read = [name for name in dw.outputs if graph.uses(name)]
    readers = [graph.only_consumer(name) for name in read]
    steps = [reader for reader in readers if reader is not None and isinstance(reader.op, Step)]
    return steps if len(steps) == len(read) else []
