"""How each convolution is computed: its geometry, and what the target's policy says of it.

All programs of a plan share the choices, since the layout of the weights depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from asmgen.graph.graph import Graph, Node
from asmgen.graph.regions import ConvForward, ConvGradient
from asmgen.graph.simplify import fits_epilogue
from asmgen.ops import pool as pool_op
from asmgen.ops.base import Elementwise
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.load_input import LoadInput
from asmgen.plan import specs
from asmgen.plan.lay_out import Layouts, computed, pool_of
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Image
from asmgen.plan.policy import Policy, PoolGradients
from asmgen.plan.specs import Activation, Conv, Pool

_POOLS: dict[type[pool_op.Pool], str] = {pool_op.MaxPool2D: "max", pool_op.AvgPool2D: "avg"}


@dataclass(frozen=True)
class ConvChoice:
    """One convolution. `act` and `pool` are those that belong to it; `pools_in_epilogue`: also in forward.

    gradients: how they are computed. weights: the layout of its parameters.
    """

    conv: Conv
    act: Activation
    pool: Pool | None
    pools_in_epilogue: bool
    gradients: PoolGradients
    weights: ConvWeights | ConvWeightsByInput


def choose_convs(graph: Graph, layouts: Layouts, policy: Policy) -> dict[str, ConvChoice]:
    """The choices of all convolutions of a fused graph, by label."""
    gradients = {node.label: node for node in graph.nodes if isinstance(node.op, ConvGradient)}
    found = {}
    for node in graph.nodes:
        if isinstance(node.op, ConvForward):
            found[node.label] = _choose(graph, layouts, policy, node, node.op, gradients.get(node.label))
    return found


def activation(node: Node | None) -> Activation:
    """The activation of a node as kernels know it; of None: none."""
    if node is None:
        return Activation()
    op = node.op.act if isinstance(node.op, pool_op.ActivatedAvgPool) else node.op
    assert isinstance(op, Elementwise), op
    return specs.activation_of(op)


def pool_spec(node: Node | None) -> Pool | None:
    """The pool of a node as kernels know it."""
    pool = pool_of(node)
    return None if pool is None else as_spec(pool)


def as_spec(pool: pool_op.Pool) -> Pool:
    """The pool as kernels know it."""
    window, stride = pool.geometry
    return Pool(_POOLS[type(pool)], *window, *stride)


def _choose(
    graph: Graph, layouts: Layouts, policy: Policy, node: Node, region: ConvForward, gradient: Node | None
) -> ConvChoice:
    conv, pool = _conv(graph, layouts, region), pool_spec(region.pool)
    act = activation(
        region.pool if region.pool and isinstance(region.pool.op, pool_op.ActivatedAvgPool) else region.act
    )
    conv = _reading_pixels(graph, policy, node, conv, pool)
    has_dx = gradient is not None and isinstance(gradient.op, ConvGradient) and gradient.op.dx is not None
    kind: PoolGradients = "stored"
    if pool is not None and pool.kind == "max" and pool.n_positions > 1:
        kind = policy.behind_max_pool(conv, pool, has_dx)
    pooled = pool_of(region.pool)
    in_epilogue = pooled is not None and fits_epilogue(pooled)
    by_input = kind == "sparse" and conv.x.block > 1
    weights = conv.weights.by_input() if by_input else conv.weights
    return ConvChoice(conv, act, pool, in_epilogue, kind, weights)


def _conv(graph: Graph, layouts: Layouts, region: ConvForward) -> Conv:
    """The geometry, with the outputs that its pool reads."""
    op = region.conv.op
    assert isinstance(op, Conv2D)
    x = layouts.image(region.conv.inputs[0])
    weights = ConvWeights(op.filters, x.c, *op.kernel, layouts.lanes, x.dtype)
    top, _, left, _ = op.pads
    oh, ow = computed(region, graph.values[region.conv.outputs[0]].shape)
    return Conv(x, weights, oh, ow, *op.stride, top, left, op.bias)


def _reading_pixels(graph: Graph, policy: Policy, node: Node, conv: Conv, pool: Pool | None) -> Conv:
    """The convolution, on the u8 images where it is the only layer that reads them and the policy says so."""
    x = node.inputs[0]
    source = graph.producer(x)
    if source is None or not isinstance(source.op, LoadInput):
        return conv
    if any(reader.label != node.label for reader in graph.consumers(x)):
        return conv
    pixels = replace(conv, pixels=specs.Pixels(source.op.scale, source.op.shift))
    return pixels if policy.reads_pixels(pixels, pool) else conv


def image_of_z(choice: ConvChoice) -> Image:
    """The convolution's own output, where it is stored."""
    conv = choice.conv
    return Image(conv.x.n, conv.weights.oc, conv.oh, conv.ow, conv.weights.block, conv.x.dtype)
