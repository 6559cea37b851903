"""The plan a target gets: the model's, with the algorithms that the target's cost model, or its tuning, prefers."""

from __future__ import annotations

from asmgen.asm.isa import Isa
from asmgen.cuda.sparse import behind_max_pool as cuda_gradients
from asmgen.cuda.target import CudaTarget
from asmgen.emit.tuning import UNTUNED, Tuning
from asmgen.model.network import Model
from asmgen.plan.build import build_plan
from asmgen.plan.plan import Plan
from asmgen.plan.policy import DenseLanes, Policy, PoolGradients
from asmgen.plan.specs import Conv, DenseForward, Depthwise, Pool
from asmgen.plan.winograd import SIZES
from asmgen.tile.conv.sample_parts import sample_parts
from asmgen.tile.dense.dense_lanes import dense_lanes
from asmgen.tile.input.pixel_strip import reads_pixels
from asmgen.tile.sparse import behind_max_pool as cpu_gradients

PRECISE_SIZES = (2,)  # F(2 x 2) is as accurate as the direct sum; F(4 x 4) errs about five times as much

_CUDA = Policy(behind_max_pool=cuda_gradients.behind_max_pool)


def winograd_sizes(model: Model) -> tuple[int, ...]:
    """The m that a model allows: `precise` ones keep to direct kernels and F(2 x 2, 3 x 3)."""
    return PRECISE_SIZES if model.precise else SIZES


def plan_for(model: Model, target: Isa | CudaTarget, tuning: Tuning = UNTUNED) -> Plan:
    """build_plan for a target. Raises UsageError where the tuning names an algorithm that cannot be."""
    if isinstance(target, CudaTarget):
        return build_plan(model, target.lanes(model.dtype), _CUDA)

    def algorithm(conv: Conv, backward: bool) -> int | None:
        return tuning.algorithm(conv, target, winograd_sizes(model), backward=backward)

    def behind_max_pool(conv: Conv, pool: Pool, has_dx: bool) -> PoolGradients:
        return cpu_gradients.behind_max_pool(conv, pool, has_dx, target, winograd_sizes(model))

    def has_codes(conv: Conv, pool: Pool) -> bool:
        return cpu_gradients.has_codes(conv, pool, target)

    def parts_of_samples(conv: Conv | Depthwise) -> int:
        return sample_parts(conv, target)

    def lanes_of_dense(spec: DenseForward, has_dx: bool) -> DenseLanes:
        return dense_lanes(spec, has_dx, target)

    policy = Policy(algorithm, reads_pixels, behind_max_pool, has_codes, lanes_of_dense, parts_of_samples)
    return build_plan(model, target.lanes(model.dtype), policy)
