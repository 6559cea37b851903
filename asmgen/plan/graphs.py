"""The graphs that a plan is made of, pass after pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from asmgen.graph.differentiate import differentiate
from asmgen.graph.frozen import frozen
from asmgen.graph.fuse import fuse
from asmgen.graph.graph import Graph, Node
from asmgen.graph.simplify import simplify
from asmgen.model.network import Model
from asmgen.model.trace import trace
from asmgen.ops.probabilities import PROBABILITIES, Probabilities


def training_graph(model: Model, *, fuses_steps: bool = True) -> Graph:
    """The fused graph of a training step. fuses_steps: dense weight gradients take the optimizer's steps."""
    return fuse(differentiate(simplify(trace(model)), model.optimizer), fuses_steps=fuses_steps)


def evaluation_graph(model: Model) -> Graph:
    """The fused graph of a forward pass up to the losses: what only a gradient reads is not there."""
    return fuse(frozen(simplify(trace(model))))


def inference_graph(model: Model) -> Graph:
    """The fused graph from the images to probabilities, or to the outputs where the loss knows no probabilities."""
    graph = frozen(simplify(trace(model)))
    loss = graph.nodes[-1]
    z = loss.inputs[0]
    layer = model.loss.probabilities()
    if layer is None:
        return fuse(replace(graph, nodes=graph.nodes[:-1], results=(z,)).kept())
    last = Node(Probabilities(layer), (z,), (PROBABILITIES,), PROBABILITIES, model.loss.where)
    values = {**graph.values, PROBABILITIES: replace(graph.values[z], name=PROBABILITIES)}
    return fuse(replace(graph, nodes=(*graph.nodes[:-1], last), values=values, results=(PROBABILITIES,)).kept())


#: What `asmgen show MODEL --graph=PASS` prints: the graph behind that pass.
PASSES: dict[str, Callable[[Model], Graph]] = {
    "trace": trace,
    "simplify": lambda model: simplify(trace(model)),
    "differentiate": lambda model: differentiate(simplify(trace(model)), model.optimizer),
    "fuse": training_graph,
    "evaluate": evaluation_graph,
    "infer": inference_graph,
}
