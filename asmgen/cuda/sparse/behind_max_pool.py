"""Whether the gradients of a convolution behind a max pool expand the pooled gradient themselves, by estimated cycles.

Stored: one kernel makes dz at full size (Conv2dUnpool), and both products copy it. Pooled: one kernel takes the
activation's gradient in place (ActBackward), and both products make dz from it and its codes in shared memory: far
fewer bytes, but instructions of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from asmgen.cuda.common.cost import streaming_cycles
from asmgen.cuda.common.tile_gemm import Product, choose_tile, cycles
from asmgen.cuda.conv import conv2d_dw, conv2d_dx
from asmgen.cuda.sparse import tile_patch
from asmgen.plan import specs
from asmgen.plan.layout import NO_HALO, Image
from asmgen.plan.policy import PoolGradients
from asmgen.plan.specs import Conv, Pool

_PRECISION = "float32"  # the default: one plan serves all


@dataclass(frozen=True)
class Estimate:
    """Bytes that the kernel before the products reads and writes; cycles of the products."""

    streamed_bytes: int
    dx: float
    dw: float

    @property
    def streaming(self) -> float:
        """Cycles of the kernel before the products."""
        return streaming_cycles(self.streamed_bytes)

    @property
    def cycles(self) -> float:
        return self.streaming + self.dx + self.dw


def behind_max_pool(conv: Conv, pool: Pool, has_dx: bool) -> PoolGradients:
    """The BehindMaxPool of CUDA."""
    stored, pooled = estimates(conv, pool, has_dx)
    return "pooled" if pooled is not None and pooled.cycles < stored.cycles else "stored"


def estimates(conv: Conv, pool: Pool, has_dx: bool, precision: str = _PRECISION) -> tuple[Estimate, Estimate | None]:
    """(stored, pooled); None where no such kernel can be: strides, kernels too large, windows that are or do not tile.

    An activation between is supposed, at whose output both kinds must look.
    """
    weights, dx = conv.weights, replace(conv.x, halo=NO_HALO)
    dz = Image(conv.x.n, weights.oc, conv.oh, conv.ow, weights.block, weights.dtype)
    h, w = pool.windows(conv.oh, conv.ow)
    dy = replace(dz, h=h, w=w)
    streamed = 2 * dy.size_bytes + dy.n * dy.code_sample_bytes + dz.size_bytes
    of_dx = specs.Conv2dBackwardInput(conv, dz, dx)
    of_dw = specs.Conv2dBackwardWeights(conv, dz)
    stored = Estimate(
        streamed,
        _cycles(conv2d_dx.product(of_dx, precision)) if has_dx else 0.0,
        _cycles(conv2d_dw.product(of_dw, precision)),
    )
    if not pool.is_tiling or pool.n_positions > weights.block:
        return stored, None
    pooled_dx = specs.Conv2dBackwardInputPooled(conv, dy, dx, pool)
    pooled_dw = specs.Conv2dBackwardWeightsPooled(conv, dy, pool)
    patch = tile_patch.choose_patch(pooled_dx, precision) if has_dx else None
    if has_dx and patch is None:
        return stored, None
    pooled = Estimate(
        3 * dy.size_bytes,
        tile_patch.cycles(pooled_dx, tile_patch.product(pooled_dx, precision), patch) if patch else 0.0,
        _cycles(conv2d_dw.product(pooled_dw, precision)),
    )
    return stored, pooled


def _cycles(product: Product) -> float:
    return cycles(product, choose_tile(product))
