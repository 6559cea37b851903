"""Runs a Graph in NumPy float64, node by node: what the network is, whatever a plan makes of it.

It knows no layouts, kernels or memory, so it judges plans that the interpreter of plans would repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asmgen.graph.graph import Graph, Node
from asmgen.ops.base import Role

Array = np.ndarray[Any, Any]

#: What has the samples in front.
_OF_SAMPLES: tuple[Role, ...] = ("images", "activation", "codes", "gradient")


def run(graph: Graph, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Every value by name, those inside regions excepted. sources: all that the graph names.

    `images` are the u8 images of the batch [n, c, h, w], `labels` [n], `present` how many samples count.
    Raises KeyError for a source that is missing, ValueError where a node makes another shape than the graph says.
    """
    values = {name: sources[name] for name in graph.sources}
    for node in graph.nodes:
        outputs = node.op.forward(*(values[name] for name in node.inputs))
        for name, value in zip(node.outputs, outputs, strict=True):
            _check_shape(graph, node, name, value, values)
            values[name] = value
    return values


def next_sources(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the next step begins with: parameters and states behind this one."""
    return {name: values[after] for name, after in graph.updates.items()}


def _check_shape(graph: Graph, node: Node, name: str, value: Array, values: Mapping[str, Any]) -> None:
    about = graph.values[name]
    if about.role == "loss":
        return
    n = (len(values["images"]),) if about.role in _OF_SAMPLES else ()
    if np.shape(value) != (*n, *about.shape):
        raise ValueError(f"{node}: {name} has the shape {np.shape(value)}; the graph says {(*n, *about.shape)}")
