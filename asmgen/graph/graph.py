"""The graph: values, each made once, and the nodes that make them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from asmgen.ops.base import Buffer, Op, Parameter, Role, Shape, Site, dims


@dataclass(frozen=True)
class Value:
    """A tensor. `shape` is that of one sample for what has samples, the whole one for parameters and their kind."""

    name: str
    shape: Shape
    role: Role

    def __str__(self) -> str:
        return f"{self.name} {dims(self.shape)}" if self.shape else self.name


@dataclass(frozen=True)
class Node:
    """outputs = op(inputs). `label` and `where` are those of the layer it comes from."""

    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    label: str
    where: str

    def __str__(self) -> str:
        return f"{', '.join(self.outputs)} = {self.op.kind}({', '.join(self.inputs)})"


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run; values by name; what the graph is for.

    `sources` are the values that nobody makes: images, labels, parameters, states. `parameters` are in the order of
    checkpoints, and so are the `buffers`. `updates` tells which value becomes the content of which one for the next
    step: {"0.weight": "0.weight.next"}.
    """

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    sources: tuple[str, ...]
    results: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    updates: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def producer(self, value: str) -> Node | None:
        """The node that makes a value; None for a source."""
        return self._producers.get(value)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read a value, in order."""
        return self._consumers.get(value, ())

    def uses(self, value: str) -> int:
        """How many nodes read it; a result counts as one."""
        return len(self.consumers(value)) + (value in self.results)

    def only_consumer(self, value: str) -> Node | None:
        """The node that reads a value, where nothing else does."""
        return self.consumers(value)[0] if self.uses(value) == 1 and self.consumers(value) else None

    @property
    def checkpoint(self) -> tuple[Parameter | Buffer, ...]:
        """Parameters and buffers in the order of PyTorch's state_dict: layer by layer, a layer's parameters first."""
        order = {label: at for at, label in enumerate(dict.fromkeys(node.label for node in self.nodes))}
        return tuple(sorted((*self.parameters, *self.buffers), key=lambda tensor: order[tensor.label]))

    def check(self) -> None:
        """Raise ValueError unless every value has one producer, made before it is read, of the shapes its op says."""
        known = set(self.sources)
        if len(known) != len(self.sources):
            raise ValueError("two sources of one name")
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise ValueError(f"{node}: reads {name} before anything made it")
            for name in node.outputs:
                if name in known:
                    raise ValueError(f"{node}: {name} is made twice")
                if name not in self.values:
                    raise ValueError(f"{node}: {name} has no shape")
                known.add(name)
            for part in node.op.inner or (node,):
                self._check_shapes(part)
        for name in (*self.results, *self.updates.values()):
            if name not in known:
                raise ValueError(f"nothing makes the result {name}")
        for name in known:
            if name not in self.values:
                raise ValueError(f"{name} has no shape")

    def _check_shapes(self, node: Node) -> None:
        """Raise ValueError unless the outputs of a node have the shapes that its op says."""
        inputs = (self.values[name].shape for name in node.inputs)
        said = node.op.out_shapes(Site(node.label, node.where), *inputs)
        for name, shape in zip(node.outputs, said, strict=False):
            if self.values[name].shape != shape:
                raise ValueError(f"{node}: {name} is {dims(self.values[name].shape)}, its op says {dims(shape)}")

    def kept(self) -> Graph:
        """The graph without nodes whose outputs nobody asks for."""
        wanted = {*self.results, *self.updates.values()}
        nodes: list[Node] = []
        for node in reversed(self.nodes):
            if wanted & set(node.outputs):
                nodes.append(node)
                wanted.update(node.inputs)
        return replace(self, nodes=tuple(reversed(nodes)))

    def with_nodes(self, nodes: Sequence[Node], values: Mapping[str, Value] | None = None) -> Graph:
        """The graph with other nodes, and further values."""
        return replace(self, nodes=tuple(nodes), values={**self.values, **(values or {})})

    def __str__(self) -> str:
        """A node a line: what it makes, its op, what it reads, where the layer stands; long ones are wrapped."""
        lines = []
        for node in self.nodes:
            made = ", ".join(str(self.values[name]) for name in node.outputs)
            text = f"{made} = {node.op}({', '.join(node.inputs)})    {node.where}"
            lines += textwrap.wrap(text, 110, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False)
        return "\n".join([*lines, f"results {', '.join(self.results)}"])
