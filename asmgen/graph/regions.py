"""Regions: nodes that are computed together. A region is an op, so that a fused graph is a graph like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asmgen.graph.graph import Graph, Node
from asmgen.ops.add import Add
from asmgen.ops.base import Elementwise, ElementwiseGradient, Op
from asmgen.ops.batch_norm import BatchNorm, BatchNormInputGradient, BatchNormSums, FrozenBatchNorm
from asmgen.ops.conv2d import Conv2D, Conv2DInputGradient, Conv2DWeightGradient
from asmgen.ops.dense import Dense, DenseInputGradient, DenseWeightGradient
from asmgen.ops.losses import Loss, LossGradient
from asmgen.ops.pool import (
    ActivatedAvgPool,
    ActivatedAvgPoolGradient,
    AvgPoolGradient,
    MaxPoolGradient,
    Pool,
)
from asmgen.ops.step import Step

POOLS = (Pool, ActivatedAvgPool)
POOL_GRADIENTS = (MaxPoolGradient, AvgPoolGradient, ActivatedAvgPoolGradient)


@dataclass(frozen=True)
class Region(Op):
    """Base of the regions. `reads` and `makes` are the values that cross its border."""

    nodes: tuple[Node, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]

    @property
    def inner(self) -> tuple[Node, ...]:
        return self.nodes

    def __str__(self) -> str:
        return "+".join(str(node.op) for node in self.nodes)

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        values = dict(zip(self.reads, inputs, strict=True))
        for node in self.nodes:
            values.update(zip(node.outputs, node.op.forward(*(values[name] for name in node.inputs)), strict=True))
        return tuple(values[name] for name in self.makes)

    def find(self, *kinds: type[Op]) -> Node | None:
        """The node of one of these kinds of op, if there is one."""
        return next((node for node in self.nodes if isinstance(node.op, kinds)), None)

    def the(self, *kinds: type[Op]) -> Node:
        """The node of one of these kinds, which the region has."""
        found = self.find(*kinds)
        assert found is not None, (self.kind, kinds)
        return found


@dataclass(frozen=True)
class ConvForward(Region):
    """A convolution with the pool and the activation behind it, in the order in which the graph has them."""

    kind = "conv_forward"

    @property
    def conv(self) -> Node:
        return self.the(Conv2D)

    @property
    def act(self) -> Node | None:
        return self.find(Elementwise)

    @property
    def pool(self) -> Node | None:
        return self.find(*POOLS)


@dataclass(frozen=True)
class ConvGradient(Region):
    """The gradients of a convolution, and of what is fused with it."""

    kind = "conv_gradient"

    @property
    def dw(self) -> Node:
        return self.the(Conv2DWeightGradient)

    @property
    def dx(self) -> Node | None:
        return self.find(Conv2DInputGradient)

    @property
    def act(self) -> Node | None:
        return self.find(ElementwiseGradient)

    @property
    def pool(self) -> Node | None:
        return self.find(*POOL_GRADIENTS)


@dataclass(frozen=True)
class DenseForward(Region):
    """A dense layer with the activation behind it."""

    kind = "dense_forward"

    @property
    def dense(self) -> Node:
        return self.the(Dense)

    @property
    def act(self) -> Node | None:
        return self.find(Elementwise)


@dataclass(frozen=True)
class DenseGradient(Region):
    """The gradients of a dense layer and of the activation behind it; the steps of its parameters, where they are
    taken as the gradients are made."""

    kind = "dense_gradient"

    @property
    def dw(self) -> Node:
        return self.the(DenseWeightGradient)

    @property
    def dx(self) -> Node | None:
        return self.find(DenseInputGradient)

    @property
    def act(self) -> Node | None:
        return self.find(ElementwiseGradient)

    @property
    def steps(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if isinstance(node.op, Step))


@dataclass(frozen=True)
class NormForward(Region):
    """A batch normalisation, of the batch's statistics or of the running ones, with the sum and the activation behind
    it."""

    kind = "norm_forward"

    @property
    def norm(self) -> Node:
        return self.the(BatchNorm, FrozenBatchNorm)

    @property
    def other(self) -> str | None:
        """The value that is added to what is normalised, if there is one."""
        add = self.find(Add)
        return None if add is None else next(name for name in add.inputs if name != self.norm.outputs[0])

    @property
    def act(self) -> Node | None:
        return self.find(Elementwise)


@dataclass(frozen=True)
class NormGradient(Region):
    """The gradients of a batch normalisation and of the activation behind it."""

    kind = "norm_gradient"

    @property
    def sums(self) -> Node:
        return self.the(BatchNormSums)

    @property
    def dx(self) -> Node | None:
        return self.find(BatchNormInputGradient)

    @property
    def act(self) -> Node | None:
        return self.find(ElementwiseGradient)


@dataclass(frozen=True)
class LossAndGradient(Region):
    """The loss, and its gradient where one is wanted."""

    kind = "loss"

    @property
    def loss(self) -> Node:
        return self.the(Loss)

    @property
    def has_gradient(self) -> bool:
        return self.find(LossGradient) is not None


@dataclass(frozen=True)
class StepRegion(Region):
    """The optimizer's steps of all parameters whose gradients are stored."""

    kind = "step"


def region(kind: type[Region], nodes: list[Node], at: Node, graph: Graph) -> Node:
    """The nodes as one, labelled as `at`, which is one of them."""
    inside = {name for node in nodes for name in node.outputs}
    reads = tuple(dict.fromkeys(name for node in nodes for name in node.inputs if name not in inside))
    ends = {*graph.results, *graph.updates.values()}
    members = {id(node) for node in nodes}
    makes = tuple(
        name
        for node in nodes
        for name in node.outputs
        if name in ends or any(id(reader) not in members for reader in graph.consumers(name))
    )
    return Node(kind(tuple(nodes), reads, makes), reads, makes, at.label, at.where)
