"""Which emitter makes the kernel of which spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.conv import conv2d_dw, conv2d_dx, conv2d_fwd, conv2d_pack, conv2d_unpool, sum_parts
from asmgen.kernels.dense import dense_dw, dense_dx, dense_fwd, dense_fwd_by_output
from asmgen.kernels.depthwise import depthwise_dw, depthwise_sums
from asmgen.kernels.elementwise import act, add, concat, dropout, in_order
from asmgen.kernels.input import load_input
from asmgen.kernels.loss import loss, probabilities
from asmgen.kernels.norm import batch_norm, batch_norm_gradient, batch_norm_statistics
from asmgen.kernels.optimizer import update
from asmgen.kernels.pool import global_avg_pool, pool
from asmgen.kernels.sparse import conv2d_dw_pooled, conv2d_dw_sparse, conv2d_dx_sparse, live_entries
from asmgen.kernels.winograd import conv2d_winograd, winograd_weights
from asmgen.plan import specs
from asmgen.plan.specs import KernelSpec
from asmgen.tile.candidates import predicted_cycles
from asmgen.tile.cost import roofline_text

#: Each takes (spec, isa), and a tile where asmgen/tile/candidates.py knows several.
_EMITTERS: dict[type[KernelSpec], Callable[..., Listing]] = {
    specs.LoadInput: load_input.emit,
    specs.Conv2dForward: conv2d_fwd.emit,
    specs.Conv2dUnpool: conv2d_unpool.emit,
    specs.Conv2dBackwardInput: conv2d_dx.emit,
    specs.Conv2dBackwardWeights: conv2d_dw.emit,
    specs.Conv2dBackwardWeightsSparse: conv2d_dw_sparse.emit,
    specs.Conv2dBackwardWeightsPooled: conv2d_dw_pooled.emit,
    specs.LiveEntries: live_entries.emit,
    specs.Conv2dBackwardInputSparse: conv2d_dx_sparse.emit,
    specs.Conv2dPackBackwardInput: conv2d_pack.emit_input_gradient,
    specs.Conv2dPackForward: conv2d_pack.emit_forward,
    specs.SumParts: sum_parts.emit,
    specs.DepthwiseForward: depthwise_sums.emit_forward,
    specs.DepthwiseBackwardInput: depthwise_sums.emit_input,
    specs.DepthwiseBackwardWeights: depthwise_dw.emit,
    specs.PoolForward: pool.emit_forward,
    specs.PoolBackward: pool.emit_backward,
    specs.GlobalAvgPoolForward: global_avg_pool.emit_forward,
    specs.GlobalAvgPoolBackward: global_avg_pool.emit_backward,
    specs.Dropout: dropout.emit,
    specs.BatchNormParts: batch_norm_statistics.emit_parts,
    specs.BatchNormMoments: batch_norm_statistics.emit_moments,
    specs.BatchNormFrozen: batch_norm_statistics.emit_frozen,
    specs.BatchNormRunning: batch_norm_statistics.emit_running,
    specs.BatchNormForward: batch_norm.emit,
    specs.BatchNormGradientParts: batch_norm_gradient.emit_parts,
    specs.BatchNormBackwardWeights: batch_norm_gradient.emit_weights,
    specs.BatchNormBackwardInput: batch_norm_gradient.emit_input,
    specs.ActForward: act.emit_forward,
    specs.ActBackward: act.emit_backward,
    specs.Add: add.emit,
    specs.ConcatForward: concat.emit_forward,
    specs.ConcatBackward: concat.emit_backward,
    specs.InOrderForward: in_order.emit_forward,
    specs.InOrderBackward: in_order.emit_backward,
    specs.DenseForward: dense_fwd.emit,
    specs.DenseForwardByOutput: dense_fwd_by_output.emit,
    specs.DenseBackwardInput: dense_dx.emit,
    specs.DenseBackwardWeights: dense_dw.emit,
    specs.DenseBackwardWeightsStep: dense_dw.emit,
    specs.WinogradWeights: winograd_weights.emit,
    specs.Conv2dForwardWinograd: conv2d_winograd.emit_forward,
    specs.Conv2dBackwardInputWinograd: conv2d_winograd.emit_backward_input,
    specs.Loss: loss.emit,
    specs.Probabilities: probabilities.emit,
    specs.Update: update.emit,
}


def emit_kernel(spec: KernelSpec, isa: Isa, tile: Any = None) -> Listing:
    """The listing of a spec for one ISA; checks the spec first. tile: default: the best predicted."""
    spec.check()
    emitter = _EMITTERS[type(spec)]
    listing = emitter(spec, isa) if tile is None else emitter(spec, isa, tile)
    roofline = roofline_text(listing.facts, isa, listing.dtype, predicted_cycles(spec, isa, listing))
    return replace(listing, facts=replace(listing.facts, roofline=roofline))
