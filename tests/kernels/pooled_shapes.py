"""Specs of the two weight gradients behind a max pool."""

from __future__ import annotations

from typing import Any, TypeVar

from asmgen.asm.isa import ISAS
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import Conv, Conv2dBackwardWeightsPooled, Conv2dBackwardWeightsSparse, Pool
from tests.kernels.support import channels

SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}

Spec = TypeVar("Spec", Conv2dBackwardWeightsPooled, Conv2dBackwardWeightsSparse)


def make_spec(
    op: type[Spec],
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    window: tuple[int, int] | None = (2, 2),
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dy_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
    bias: bool = True,
) -> Spec:
    """Rows and columns of the convolution that fill no window are left out, as in a plan."""
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    ph, pw = window or (1, 1)
    dy_h, dy_w = ((h + top + bottom - kh) // sh + 1) // ph, ((w + left + right - kw) // sw + 1) // pw
    oh, ow = dy_h * ph, dy_w * pw
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    block = 1 if op is Conv2dBackwardWeightsPooled else lanes
    conv = Conv(
        Image(n, c, h, w, block, dtype, halo), ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, bias
    )
    dy = Image(n, oc, dy_h, dy_w, lanes, dtype, Halo(*dy_halo))
    pool: Any = Pool("max", ph, pw, ph, pw) if window else None
    spec = op(conv, dy, pool)
    spec.check()
    return spec
