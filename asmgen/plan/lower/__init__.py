"""From a fused graph to entries: one function a kind of node, in one table."""

from __future__ import annotations

from collections.abc import Callable

from asmgen.graph.graph import Node
from asmgen.graph.regions import (
    ConvForward,
    ConvGradient,
    DenseForward,
    DenseGradient,
    LossAndGradient,
    NormForward,
    NormGradient,
    StepRegion,
)
from asmgen.ops.add import Add
from asmgen.ops.base import Elementwise, ElementwiseGradient, Op
from asmgen.ops.batch_norm import RunningStatistics
from asmgen.ops.concat import Concat, ConcatGradient
from asmgen.ops.depthwise import DepthwiseConv2D, DepthwiseInputGradient, DepthwiseWeightGradient
from asmgen.ops.dropout import Dropout, DropoutGradient
from asmgen.ops.flatten import Flatten, Unflatten
from asmgen.ops.global_avg_pool import GlobalAvgPool, GlobalAvgPoolGradient
from asmgen.ops.in_order import InOrder, InOrderGradient
from asmgen.ops.load_input import LoadInput
from asmgen.ops.pool import AvgPoolGradient, MaxPoolGradient, Pool
from asmgen.ops.probabilities import Probabilities
from asmgen.ops.step import Accumulate
from asmgen.ops.subsample import PadChannels
from asmgen.plan.draft import Draft
from asmgen.plan.lower.add import add
from asmgen.plan.lower.batch_norm import norm_forward, norm_gradient, running_statistics
from asmgen.plan.lower.concat import concat, concat_gradient, pad_channels
from asmgen.plan.lower.conv import conv_forward
from asmgen.plan.lower.conv_gradient import conv_gradient
from asmgen.plan.lower.dense import dense_forward, dense_gradient
from asmgen.plan.lower.depthwise import depthwise_forward, depthwise_input_gradient, depthwise_weight_gradient
from asmgen.plan.lower.dropout import dropout
from asmgen.plan.lower.elementwise import elementwise, elementwise_gradient
from asmgen.plan.lower.in_order import in_order, in_order_gradient
from asmgen.plan.lower.input_and_loss import load_input, loss, probabilities
from asmgen.plan.lower.pool import global_avg_pool, global_avg_pool_gradient, pool, pool_gradient
from asmgen.plan.lower.step import step
from asmgen.plan.lower.view import flatten, unflatten

LOWER: dict[type[Op], Callable[[Draft, Node], None]] = {
    LoadInput: load_input,
    ConvForward: conv_forward,
    ConvGradient: conv_gradient,
    DenseForward: dense_forward,
    DenseGradient: dense_gradient,
    NormForward: norm_forward,
    NormGradient: norm_gradient,
    RunningStatistics: running_statistics,
    DepthwiseConv2D: depthwise_forward,
    DepthwiseInputGradient: depthwise_input_gradient,
    DepthwiseWeightGradient: depthwise_weight_gradient,
    Pool: pool,
    MaxPoolGradient: pool_gradient,
    AvgPoolGradient: pool_gradient,
    Add: add,
    Accumulate: add,
    Concat: concat,
    PadChannels: pad_channels,
    ConcatGradient: concat_gradient,
    Dropout: dropout,
    DropoutGradient: dropout,
    Elementwise: elementwise,
    ElementwiseGradient: elementwise_gradient,
    GlobalAvgPool: global_avg_pool,
    GlobalAvgPoolGradient: global_avg_pool_gradient,
    Flatten: flatten,
    Unflatten: unflatten,
    InOrder: in_order,
    InOrderGradient: in_order_gradient,
    LossAndGradient: loss,
    Probabilities: probabilities,
    StepRegion: step,
}


def lower(draft: Draft, node: Node) -> None:
    """Adds the entries of a node. Raises KeyError for an op that the table does not have."""
    for kind in type(node.op).__mro__:
        if kind in LOWER:
            LOWER[kind](draft, node)
            return
    raise KeyError(f"{node}: no kernel for {type(node.op).__name__}")
