"""The graph with what evaluation and inference use: running statistics in the place of the batch's, no dropout."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Graph, Node
from asmgen.ops.batch_norm import BatchNorm, FrozenBatchNorm, RunningStatistics
from asmgen.ops.dropout import Dropout


def frozen(graph: Graph) -> Graph:
    """The graph with every BatchNorm frozen and without Dropout, checked; nothing is updated.

    It comes behind `simplify`, so that what a layer reads lies as it does in a training step, whose weights it shares.
    """
    running = {node.inputs[0]: node.inputs[3:5] for node in graph.nodes if isinstance(node.op, RunningStatistics)}
    nodes: list[Node] = []
    same: dict[str, str] = {}  # what a dropout makes -> what it reads
    for node in graph.nodes:
        node = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if isinstance(node.op, RunningStatistics):
            continue
        if isinstance(node.op, Dropout):
            same[node.outputs[0]] = node.inputs[0]
            continue
        if isinstance(node.op, BatchNorm):
            y, mean, _ = node.outputs
            inputs = (*node.inputs[:-1], *running[mean])
            node = Node(FrozenBatchNorm(node.op), inputs, (y,), node.label, node.where)
        nodes.append(node)
    changed = Graph(
        nodes=tuple(nodes),
        values=graph.values,
        sources=graph.sources,
        results=graph.results,
        parameters=graph.parameters,
        buffers=graph.buffers,
    )
    changed.check()
    return changed
