"""What a target wants of a plan, beyond its lanes: decided in asmgen/emit/planning.py, obeyed by build_plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from asmgen.plan.live_list import MAX_MASKS
from asmgen.plan.specs import Conv, DenseForward, Depthwise, Pool

#: (convolution, whether its input gradient is meant) -> m of Winograd's F(m x m, 3 x 3), or None for the direct kernel.
Algorithm = Callable[[Conv, bool], int | None]


def direct(conv: Conv, backward: bool) -> int | None:
    """The Algorithm that never takes Winograd's."""
    return None


#: (first convolution, its fused pool) -> whether its kernels read the u8 images, so that no copy as numbers exists.
ReadsPixels = Callable[[Conv, Pool | None], bool]


def stored(conv: Conv, pool: Pool | None) -> bool:
    """The ReadsPixels that always stores the input as numbers."""
    return False


#: Behind a max pool the gradient of a convolution's output is "stored", or it never is: "sparse" kernels walk the live
#: entries of the pooled one, "pooled" kernels make it where they use it (asmgen/plan/specs/sparse.py).
PoolGradients = Literal["sparse", "pooled", "stored"]

#: (convolution, its max pool, whether its input has a gradient) -> how its gradients are computed.
BehindMaxPool = Callable[[Conv, Pool, bool], PoolGradients]


def sparse(conv: Conv, pool: Pool, has_dx: bool) -> PoolGradients:
    """The BehindMaxPool that always walks live entries."""
    return "sparse"


#: (convolution, its max pool) -> whether its lists of live entries have codes (asmgen/plan/live_list.py).
HasCodes = Callable[[Conv, Pool], bool]


def behind_large_windows(conv: Conv, pool: Pool) -> bool:
    """The HasCodes that only looks at the number of masks there would be."""
    return pool.n_positions > MAX_MASKS


#: The lanes of a dense layer's weights are its "inputs" or its "outputs"; "turned": inputs, and forward turns blocks of
#: them on its frame.
DenseLanes = Literal["inputs", "outputs", "turned"]

#: (dense layer by input, whether its input has a gradient) -> how its weights lie; "outputs" only where it has none.
LanesOfDense = Callable[[DenseForward, bool], DenseLanes]


def by_input(spec: DenseForward, has_dx: bool) -> DenseLanes:
    """The LanesOfDense that never changes them."""
    return "inputs"


#: convolution -> the parts of the samples whose weight gradients are summed apart (asmgen/plan/specs/sum_parts.py).
SampleParts = Callable[[Conv | Depthwise], int]


def one_part(conv: Conv | Depthwise) -> int:
    """The SampleParts that sums over all samples at once."""
    return 1


#: A dense layer's step is "fused" with its weight gradient where nothing else reads that, or the gradient is "stored".
DenseSteps = Literal["fused", "stored"]


@dataclass(frozen=True)
class Policy:
    """A function for each choice that a plan leaves to its target.

    algorithm: Winograd's tile of a 3 x 3 convolution, or direct. reads_pixels: whether a first convolution reads the u8
    images. behind_max_pool: how gradients behind one are computed. has_codes: what lists of live entries hold.
    dense_lanes: how dense weights lie. sample_parts: in how many parts of the samples a weight gradient
    is summed.
    """

    algorithm: Algorithm = direct
    reads_pixels: ReadsPixels = stored
    behind_max_pool: BehindMaxPool = sparse
    has_codes: HasCodes = behind_large_windows
    dense_lanes: LanesOfDense = by_input
    sample_parts: SampleParts = one_part
    dense_steps: DenseSteps = "fused"
