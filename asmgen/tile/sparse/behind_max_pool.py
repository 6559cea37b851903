"""Whether the gradients of a convolution behind a max pool walk live entries, by predicted cycles.

Where windows tile, at most one value in a window has a gradient, and the rest is not computed. The more windows overlap
the more entries there are for each value: with a stride of 1 as many as values, and then the dense kernels, which take
an entry in less time, win behind all but few live ones. Few input channels have no lanes for lists: their kernel
(asmgen/tile/sparse/conv2d_dw_pooled.py) looks at every position of every window, or at one patch for each output
channel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from asmgen.asm.isa import Isa
from asmgen.plan import specs
from asmgen.plan.layout import NO_HALO, Image
from asmgen.plan.policy import PoolGradients
from asmgen.plan.specs import Conv, Pool
from asmgen.tile.conv import conv2d_dw
from asmgen.tile.cost import L2_BYTES, MACHINES
from asmgen.tile.sparse import conv2d_dw_pooled, conv2d_dw_sparse, conv2d_dx_sparse
from asmgen.tile.winograd.conv2d_winograd import algorithms

_FEW_POSITIONS = 9  # of windows that tile: what the dense kernels would save is never worth storing dz
_SPREAD_CYCLES = 4.0  # of a vector at a position of a window, added to what other windows gave


@cache
def behind_max_pool(conv: Conv, pool: Pool, has_dx: bool, isa: Isa, sizes: tuple[int, ...]) -> PoolGradients:
    """The BehindMaxPool of a CPU; sizes: of Winograd's tiles that a stored gradient may have."""
    if pool.is_tiling and pool.n_positions <= _FEW_POSITIONS:
        return "sparse"
    sparse = sparse_cycles(conv, pool, has_dx, isa)
    return "stored" if sparse is None or stored_cycles(conv, pool, has_dx, isa, sizes) < sparse else "sparse"


def sparse_cycles(conv: Conv, pool: Pool, has_dx: bool, isa: Isa) -> float | None:
    """Of the gradients from live entries; None where the patch of a window is too large."""
    dy = _dy(conv, pool)
    if conv.x.block == 1:
        return conv2d_dw_pooled.candidates(specs.Conv2dBackwardWeightsPooled(conv, dy, pool), isa)[0].cycles
    dw = conv2d_dw_sparse.candidates(specs.Conv2dBackwardWeightsSparse(conv, dy, pool), isa)[0].cycles
    if not has_dx:
        return dw
    spec = _dx(conv, pool)
    spec = replace(spec, has_codes=conv2d_dx_sparse.lists_have_codes(spec, isa))
    dx = conv2d_dx_sparse.candidates(spec, isa)
    return dw + dx[0].cycles + _traffic(dy.size_bytes + spec.live.size_bytes, isa) if dx else None


def stored_cycles(conv: Conv, pool: Pool, has_dx: bool, isa: Isa, sizes: tuple[int, ...]) -> float:
    """Of the dense gradients, and of the kernel that makes the gradient of the convolution's output for them."""
    dy = _dy(conv, pool)
    dz = replace(dy, h=conv.oh, w=conv.ow)
    spread = dy.n * dy.n_c_blocks * dy.h * dy.w * pool.n_positions * _SPREAD_CYCLES + _traffic(dz.size_bytes, isa)
    total = spread + conv2d_dw.candidates(specs.Conv2dBackwardWeights(conv, dz), isa)[0].cycles
    if has_dx:
        direct = conv.macs / conv.weights.block / MACHINES[isa.name].multiply_adds
        total += min(direct, algorithms(conv, isa, sizes, backward=True)[0].cycles)
    return total


@cache
def has_codes(conv: Conv, pool: Pool, isa: Isa) -> bool:
    """The HasCodes of a CPU."""
    return conv2d_dx_sparse.lists_have_codes(_dx(conv, pool), isa)


def _dx(conv: Conv, pool: Pool) -> specs.Conv2dBackwardInputSparse:
    return specs.Conv2dBackwardInputSparse(conv, _dy(conv, pool), replace(conv.x, halo=NO_HALO), pool)


def _dy(conv: Conv, pool: Pool) -> Image:
    weights = conv.weights
    return Image(conv.x.n, weights.oc, *pool.windows(conv.oh, conv.ow), weights.block, weights.dtype)


def _traffic(size_bytes: int, isa: Isa) -> float:
    machine = MACHINES[isa.name]
    return size_bytes / (machine.l2_bytes if size_bytes <= L2_BYTES else machine.l3_bytes)
