"""Adds the gradients of the loss, and the optimizer's steps: every op has a rule, and the rules add nodes.

A value that several nodes read has several contributions to its gradient; an Accumulate node sums them up in the order
in which they are made. What no rule asks for is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from asmgen.graph.graph import Graph, Node, Value
from asmgen.ops.base import Op, Role, Shape, Site
from asmgen.ops.optimizers import Optimizer
from asmgen.ops.step import Accumulate, Step

HYPER = "hyper"


def gradient_name(value: str) -> str:
    """The value that is the gradient of another."""
    return f"d_{value}"


def next_name(value: str) -> str:
    """The value that takes its place in the next step."""
    return f"{value}.next"


def state_name(parameter: str, state: str) -> str:
    """What the optimizer keeps of a parameter."""
    return f"{parameter}.{state}"


def differentiate(graph: Graph, optimizer: Optimizer) -> Graph:
    """The graph of a training step, checked; its updates are the parameters and the optimizer's states."""
    reached = _reached(graph)
    nodes, values = list(graph.nodes), dict(graph.values)
    contributions: dict[str, list[str]] = {}
    n_wanted = {name: sum(node.inputs.count(name) for node in graph.consumers(name)) for name in reached}
    for node in reversed(graph.nodes):
        if not any(name in reached for name in node.inputs):
            continue
        grads: tuple[str, ...] = ()
        if node.op.role != "loss":
            grads = (_total(node.outputs[0], contributions, nodes, values, node),)
        rules = _Rules(node, grads, tuple(name in reached for name in node.inputs), values)
        results = node.op.gradient(rules)
        made_here = {name for made in rules.nodes for name in made.outputs}
        names: dict[str, str] = {}
        for name, result in zip(node.inputs, results, strict=True):
            if result is None or name not in reached:
                continue
            mine = contributions.setdefault(name, [])
            whole = gradient_name(name)
            if result in made_here:
                names[result] = whole if n_wanted[name] == 1 else f"{whole}.via{len(mine)}"
            mine.append(names.get(result, result))  # a gradient that passes unchanged keeps its name
        for made in rules.nodes:
            renamed = replace(
                made,
                inputs=tuple(names.get(name, name) for name in made.inputs),
                outputs=tuple(names.get(name, name) for name in made.outputs),
            )
            nodes.append(renamed)
            for name, value in zip(renamed.outputs, rules.made(made), strict=True):
                values[name] = replace(value, name=name)
    for parameter in graph.parameters:
        _total(parameter.name, contributions, nodes, values, graph.consumers(parameter.name)[0])
    training = _with_steps(replace(graph, nodes=tuple(nodes), values=values), optimizer).kept()
    training.check()
    return training


@dataclass
class _Rules:
    """One node under differentiation: what its rule sees (asmgen/ops/rules.py)."""

    node: Node
    grads: tuple[str, ...]
    wants: tuple[bool, ...]
    values: Mapping[str, Value]
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.node.inputs, self.node.outputs
        self._values: dict[str, Value] = {}

    def add(self, op: Op, *inputs: str) -> str:
        return self.add_all(op, *inputs)[0]

    def add_all(self, op: Op, *inputs: str) -> tuple[str, ...]:
        node, site = self.node, Site(self.node.label, self.node.where)
        shapes = op.out_shapes(site, *(self.shape(name) for name in inputs))
        roles: list[tuple[str, Role]] = [("", op.role), *op.more_outputs]
        stem = f"d_{node.label}.{op.kind}{len(self.nodes)}"
        names = tuple(f"{stem}.{name}" if name else stem for name, _ in roles[: len(shapes)])
        for name, shape, (_, role) in zip(names, shapes, roles, strict=False):
            self._values[name] = Value(name, shape, role)
        self.nodes.append(Node(op, inputs, names, node.label, node.where))
        return names

    def shape(self, value: str) -> Shape:
        return self._values[value].shape if value in self._values else self.values[value].shape

    def made(self, node: Node) -> list[Value]:
        return [self._values[name] for name in node.outputs]


def _reached(graph: Graph) -> set[str]:
    """Parameters, and all that depends on one: the values that have gradients."""
    found = {parameter.name for parameter in graph.parameters}
    for node in graph.nodes:
        if found & set(node.inputs):
            found.add(node.outputs[0])
    return found


def _total(
    value: str, contributions: Mapping[str, list[str]], nodes: list[Node], values: dict[str, Value], node: Node
) -> str:
    """The gradient of a value: its contribution, or their sum."""
    parts = contributions[value]
    if len(parts) == 1:
        return parts[0]
    whole = gradient_name(value)
    if whole in values:
        return whole
    values[whole] = replace(values[parts[0]], name=whole)
    nodes.append(Node(Accumulate(), tuple(parts), (whole,), node.label, node.where))
    return whole


def _with_steps(graph: Graph, optimizer: Optimizer) -> Graph:
    """The graph with a step for every parameter."""
    nodes, values, sources = list(graph.nodes), dict(graph.values), [*graph.sources, HYPER]
    updates = dict(graph.updates)
    values[HYPER] = Value(HYPER, (3,), "hyper")
    for parameter in graph.parameters:
        states = [state_name(parameter.name, state) for state in optimizer.states]
        for state in states:
            values[state] = Value(state, parameter.shape, "state")
            sources.append(state)
        olds = (parameter.name, *states)
        news = tuple(next_name(name) for name in olds)
        for old, new in zip(olds, news, strict=True):
            values[new] = replace(values[old], name=new)
            updates[old] = new
        inputs = (parameter.name, gradient_name(parameter.name), HYPER, *states)
        nodes.append(Node(Step(optimizer), inputs, news, parameter.label, parameter.where))
    return replace(graph, nodes=tuple(nodes), values=values, sources=tuple(sources), updates=updates)
