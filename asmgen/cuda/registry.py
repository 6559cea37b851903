"""Which CUDA emitter makes the kernels of which spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asmgen.cuda.conv import conv2d_dw, conv2d_dx, conv2d_fwd, conv2d_pack, conv2d_unpool
from asmgen.cuda.dense import dense_dw, dense_dx, dense_fwd
from asmgen.cuda.depthwise import depthwise
from asmgen.cuda.elementwise import act, add, concat, dropout, in_order
from asmgen.cuda.input import load_input
from asmgen.cuda.listing import CudaListing
from asmgen.cuda.loss import loss, probabilities
from asmgen.cuda.norm import batch_norm
from asmgen.cuda.optimizer import update
from asmgen.cuda.pool import global_avg_pool, pool
from asmgen.cuda.sparse import conv2d_dx_pooled
from asmgen.plan import specs
from asmgen.plan.specs import KernelSpec

_STREAMING: dict[type[KernelSpec], Callable[[Any], CudaListing]] = {
    specs.LoadInput: load_input.emit,
    specs.Dropout: dropout.emit,
    specs.DepthwiseForward: depthwise.emit_forward,
    specs.DepthwiseBackwardInput: depthwise.emit_input,
    specs.DepthwiseBackwardWeights: depthwise.emit_weights,
    specs.BatchNormParts: batch_norm.emit_parts,
    specs.BatchNormMoments: batch_norm.emit_moments,
    specs.BatchNormFrozen: batch_norm.emit_frozen,
    specs.BatchNormRunning: batch_norm.emit_running,
    specs.BatchNormForward: batch_norm.emit_forward,
    specs.BatchNormGradientParts: batch_norm.emit_gradient_parts,
    specs.BatchNormBackwardWeights: batch_norm.emit_weights,
    specs.BatchNormBackwardInput: batch_norm.emit_input,
    specs.ActForward: act.emit_forward,
    specs.ActBackward: act.emit_backward,
    specs.Add: add.emit,
    specs.ConcatForward: concat.emit_forward,
    specs.ConcatBackward: concat.emit_backward,
    specs.InOrderForward: in_order.emit_forward,
    specs.InOrderBackward: in_order.emit_backward,
    specs.Conv2dUnpool: conv2d_unpool.emit,
    specs.Conv2dPackBackwardInput: conv2d_pack.emit,
    specs.PoolForward: pool.emit_forward,
    specs.PoolBackward: pool.emit_backward,
    specs.GlobalAvgPoolForward: global_avg_pool.emit_forward,
    specs.GlobalAvgPoolBackward: global_avg_pool.emit_backward,
    specs.Loss: loss.emit,
    specs.Probabilities: probabilities.emit,
    specs.Update: update.emit,
}

#: Products of matrices: their emitters take the precision, too (asmgen.cuda.precision).
_PRODUCTS: dict[type[KernelSpec], Callable[[Any, str], CudaListing]] = {
    specs.Conv2dForward: conv2d_fwd.emit,
    specs.Conv2dBackwardInput: conv2d_dx.emit,
    specs.Conv2dBackwardInputPooled: conv2d_dx_pooled.emit,
    specs.Conv2dBackwardWeights: conv2d_dw.emit,
    specs.Conv2dBackwardWeightsPooled: conv2d_dw.emit,
    specs.DenseForward: dense_fwd.emit,
    specs.DenseBackwardInput: dense_dx.emit,
    specs.DenseBackwardWeights: dense_dw.emit,
    specs.DenseBackwardWeightsStep: dense_dw.emit,
}

#: What a plan for CUDA may hold.
OPS = frozenset((*_STREAMING, *_PRODUCTS))


def emit(spec: KernelSpec, precision: str = "float32") -> CudaListing:
    """The listing of a spec; checks the spec first. precision matters to float32 products only."""
    spec.check()
    if type(spec) in _PRODUCTS:
        return _PRODUCTS[type(spec)](spec, precision)
    return _STREAMING[type(spec)](spec)
