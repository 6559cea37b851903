"""The graph with what evaluation and inference use: running statistics in the place of the batch's."""

from __future__ import annotations

from asmgen.graph.graph import Graph, Node
from asmgen.ops.batch_norm import BatchNorm, FrozenBatchNorm, RunningStatistics


def frozen(graph: Graph) -> Graph:
    """The graph with every BatchNorm frozen, checked; nothing is updated."""
    running = {node.inputs[0]: node.inputs[3:5] for node in graph.nodes if isinstance(node.op, RunningStatistics)}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, RunningStatistics):
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
