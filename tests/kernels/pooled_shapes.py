"""Specs of the two weight gradients behind a max pool."""

from __future__ import annotations

from typing import Any, TypeVar

from asmgen.asm.isa import ISAS
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import Conv, Conv2dBackwardWeightsPooled, Conv2dBackwardWeightsSparse, Pool
from tests.kernels.support import channels

SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}

Spec = TypeVar("Spec", Conv2dBackwardWeightsPooled, Conv2dBackwardWeightsSparse)


def windows_of(pool: Pool, oh: int, ow: int) -> tuple[int, int, int, int]:
    """(rows, columns of windows, rows, columns that they read) of oh x ow values."""
    h, w = pool.windows(oh, ow)
    return h, w, *pool.extent(h, w)


def make_spec(
    op: type[Spec],
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    window: tuple[int, int] | None = (2, 2),
    step: tuple[int, int] | None = None,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dy_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
    bias: bool = True,
) -> Spec:
    """window: None: no pool. step: from window to window, else they tile. Rows and columns of the convolution that
    fill no window are left out, as in a plan.
    """
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    pool = Pool("max", *(window or (1, 1)), *(step or window or (1, 1)))
    dy_h, dy_w, oh, ow = windows_of(pool, (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1)
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    block = 1 if op is Conv2dBackwardWeightsPooled else lanes
    conv = Conv(
        Image(n, c, h, w, block, dtype, halo), ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, bias
    )
    dy = Image(n, oc, dy_h, dy_w, lanes, dtype, Halo(*dy_halo))
    behind: Any = pool if window else None
    spec = op(conv, dy, behind)
    spec.check()
    return spec
