"""The tiles that each kernel may have, fastest prediction first, and what a kernel is predicted to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.plan import specs
from asmgen.plan.specs import KernelSpec
from asmgen.tile.conv import conv2d_dw, conv2d_dx, conv2d_fwd
from asmgen.tile.cost import LIVE_SHARE, Candidate, bound_cycles, traffic_cycles
from asmgen.tile.dense import dense_dw, dense_product
from asmgen.tile.pool import pool
from asmgen.tile.sparse import conv2d_dw_pooled, conv2d_dw_sparse, conv2d_dx_sparse
from asmgen.tile.winograd import conv2d_winograd

_CANDIDATES: dict[type[KernelSpec], Callable[..., tuple[Candidate[Any], ...]]] = {
    specs.Conv2dForward: conv2d_fwd.candidates,
    specs.Conv2dBackwardInput: conv2d_dx.candidates,
    specs.Conv2dBackwardWeights: conv2d_dw.candidates,
    specs.Conv2dBackwardWeightsSparse: conv2d_dw_sparse.candidates,
    specs.Conv2dBackwardWeightsPooled: conv2d_dw_pooled.candidates,
    specs.Conv2dBackwardInputSparse: conv2d_dx_sparse.candidates,
    specs.Conv2dForwardWinograd: conv2d_winograd.candidates,
    specs.Conv2dBackwardInputWinograd: conv2d_winograd.candidates,
    specs.Conv2dUnpool: pool.unpool_candidates,
    specs.PoolForward: pool.forward_candidates,
    specs.PoolBackward: pool.backward_candidates,
    specs.DenseForward: dense_product.forward_candidates,
    specs.DenseForwardByOutput: dense_product.by_output_candidates,
    specs.DenseBackwardInput: dense_product.input_candidates,
    specs.DenseBackwardWeights: dense_dw.update_candidates,
    specs.DenseBackwardWeightsStep: dense_dw.update_candidates,
}
_SPARSE = (specs.Conv2dBackwardWeightsSparse, specs.Conv2dBackwardInputSparse)  # ask for the live share, too


def candidates(spec: KernelSpec, isa: Isa, live_share: float = LIVE_SHARE) -> tuple[Candidate[Any], ...]:
    """The legal tiles of a kernel, ranked, each with a text of its own; none where there is nothing to choose.

    live_share: of the gradients behind a max pool, for the kernels that skip the others.
    """
    if isinstance(spec, specs.ConvWeightGradient) and spec.sample_parts > 1:
        found = candidates(spec.of_part(), isa, live_share)
        return tuple(replace(each, cycles=spec.sample_parts * each.cycles) for each in found)
    find = _CANDIDATES.get(type(spec))
    if find is None:
        return ()
    return find(spec, isa, live_share) if isinstance(spec, _SPARSE) else find(spec, isa)


def chosen(spec: KernelSpec, isa: Isa, listing: Listing, live_share: float = LIVE_SHARE) -> Candidate[Any] | None:
    """The candidate that a listing was emitted with; None where there was nothing to choose."""
    found = candidates(spec, isa, live_share)
    return next((each for each in found if str(each.tile) == listing.facts.tile), None)


def predicted_cycles(spec: KernelSpec, isa: Isa, listing: Listing, live_share: float = LIVE_SHARE) -> float:
    """Of one call: its tile's, or the roofline's where there is no tile; no less than its traffic."""
    if candidate := chosen(spec, isa, listing, live_share):
        return max(candidate.cycles, traffic_cycles(listing.facts, isa))
    return bound_cycles(listing.facts, isa, listing.dtype)
