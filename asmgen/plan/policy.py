"""What a target wants of a plan, beyond its lanes: decided in asmgen/emit/planning.py, obeyed by build_plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asmgen.plan.specs import Conv, Pool

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


#: convolution -> the groups of samples whose weight gradients are summed apart (asmgen/plan/specs/parts.py).
Groups = Callable[[Conv], int]


def one_group(conv: Conv) -> int:
    """The Groups that sums over all samples at once."""
    return 1


@dataclass(frozen=True)
class Policy:
    """algorithm: how each 3 x 3 convolution is computed. reads_pixels: whether a convolution on the input does. sparse:
    gradients behind a max pool come from the live entries of the pooled gradient, not from one of full size.
    groups: where the weight gradients of convolutions are summed in parts.
    """

    algorithm: Algorithm = direct
    reads_pixels: ReadsPixels = stored
    sparse: bool = True
    groups: Groups = one_group
