"""The graphs that a plan is made of, pass after pass."""

from __future__ import annotations

from collections.abc import Callable

from asmgen.graph.differentiate import differentiate
from asmgen.graph.fuse import fuse
from asmgen.graph.graph import Graph
from asmgen.graph.simplify import simplify
from asmgen.model.network import Model
from asmgen.model.trace import trace


def training_graph(model: Model) -> Graph:
    """The fused graph of a training step."""
    return fuse(differentiate(simplify(trace(model)), model.optimizer))


#: What `asmgen show MODEL --graph=PASS` prints: the graph behind that pass.
PASSES: dict[str, Callable[[Model], Graph]] = {
    "trace": trace,
    "simplify": lambda model: simplify(trace(model)),
    "differentiate": lambda model: differentiate(simplify(trace(model)), model.optimizer),
    "fuse": training_graph,
}
