"""The plan a target gets: the model's, with the algorithm that the target's cost model prefers for each convolution."""

from __future__ import annotations

from asmgen.asm.isa import Isa
from asmgen.cuda.target import CudaTarget
from asmgen.model.network import Model
from asmgen.plan.build import build_plan
from asmgen.plan.plan import Plan
from asmgen.plan.policy import Policy
from asmgen.plan.specs import Conv
from asmgen.tile.winograd import winograd_size

PRECISE_SIZES = (2,)  # F(2 x 2) is as accurate as the direct sum; F(4 x 4) errs about five times as much

#: On a GPU every gradient is a tensor of its own: matrix units want whole tiles, and a block finds its input by itself.
_CUDA = Policy(sparse=False)


def plan_for(model: Model, target: Isa | CudaTarget) -> Plan:
    """build_plan for a target; `precise` models keep to direct kernels and F(2 x 2, 3 x 3)."""
    if isinstance(target, CudaTarget):
        return build_plan(model, target.lanes(model.dtype), _CUDA)

    def algorithm(conv: Conv, backward: bool) -> int | None:
        if model.precise:
            return winograd_size(conv, target, PRECISE_SIZES, backward=backward)
        return winograd_size(conv, target, backward=backward)

    return build_plan(model, target.lanes(model.dtype), Policy(algorithm))
