"""Entries of depthwise convolutions."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.depthwise import DepthwiseConv2D, DepthwiseInputGradient, DepthwiseWeightGradient
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import ConvWeights, Image
from asmgen.plan.lower.parameters import add_parameters
from asmgen.plan.lower.sum_parts import weight_gradient


def depthwise_forward(draft: Draft, node: Node) -> None:
    """y."""
    assert isinstance(node.op, DepthwiseConv2D)
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    conv = _geometry(node.op.of, draft.images(x), draft.images(y))
    block = add_parameters(draft, node, conv.weights, stores_gradient=True)
    draft.entry("forward", specs.DepthwiseForward(conv, draft.images(y)), (x, block.name, y), (y,), node.label)


def depthwise_input_gradient(draft: Draft, node: Node) -> None:
    """dx."""
    assert isinstance(node.op, DepthwiseInputGradient)
    dz, dx = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    conv = _geometry(node.op.of, draft.images(dx), draft.images(dz))
    spec = specs.DepthwiseBackwardInput(conv, draft.images(dz), draft.images(dx))
    draft.entry("backward", spec, (dz, draft.parameters[node.label].name, dx), (dx,), node.label)


def depthwise_weight_gradient(draft: Draft, node: Node) -> None:
    """dw, and db behind it; or parts of them."""
    assert isinstance(node.op, DepthwiseWeightGradient)
    x, dz = (draft.value(name) for name in node.inputs)
    conv = _geometry(node.op.of, draft.images(x), draft.images(dz))
    dw = specs.DepthwiseBackwardWeights(conv, draft.images(dz), draft.policy.sample_parts(conv))
    weight_gradient(draft, node.label, dw, (x, dz))


def _geometry(op: Conv2D, x: Image, z: Image) -> specs.Depthwise:
    weights = ConvWeights(x.c, 1, *op.kernel, x.block, x.dtype)
    top, _, left, _ = op.pads
    return specs.Depthwise(x, weights, z.h, z.w, *op.stride, top, left, op.bias)
