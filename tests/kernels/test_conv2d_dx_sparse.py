"""The sparse input gradient and the lists it walks, at the edges of dx, of groups, sweeps and channel blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels import conv2d_dx_sparse, live_entries
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.live_list import LiveList
from asmgen.plan.specs import Conv, Conv2dBackwardInputSparse, LiveEntries, Pool
from asmgen.tile.conv2d_dx_sparse import choose_tile

V = 1000  # channel counts are `V * lanes + rest`, written as 1000 * blocks + rest


def _channels(count: int, lanes: int) -> int:
    blocks, rest = divmod(count + V // 2, V)
    return max(1, blocks * lanes + rest - V // 2)


def make_spec(
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    window: tuple[int, int] = (2, 2),
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dy_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
    dx_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Conv2dBackwardInputSparse:
    """window (1, 1): no pool. Rows and columns of the convolution that fill no window are left out, as in a plan."""
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = _channels(c, lanes), _channels(oc, lanes)
    ph, pw = window
    dy_h, dy_w = ((h + top + bottom - kh) // sh + 1) // ph, ((w + left + right - kw) // sw + 1) // pw
    oh, ow = dy_h * ph, dy_w * pw
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    x = Image(n, c, h, w, lanes, dtype, halo)
    conv = Conv(x, ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, True)
    dy = Image(n, oc, dy_h, dy_w, lanes, dtype, Halo(*dy_halo))
    pool = None if window == (1, 1) else Pool("max", ph, pw, ph, pw)
    return Conv2dBackwardInputSparse(conv, dy, Image(n, c, h, w, lanes, dtype, Halo(*dx_halo)), pool)


def lists_of(spec: Conv2dBackwardInputSparse) -> LiveEntries:
    return LiveEntries(spec.conv, spec.dy, spec.pool)


SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
CASES: dict[str, dict[str, Any]] = {
    "whole blocks": {"shape": (3, V, 8, 8), "oc": 2 * V, "kernel": (3, 3), "dx_halo": (1, 1, 1, 1), **SAME},
    "several groups": {"shape": (2, 2 * V, 6, 6), "oc": 2 * V + 100, "kernel": (3, 3), **SAME},
    "ragged group, three c": {"shape": (1, 3 * V, 4, 10), "oc": 5 * V + 3, "kernel": (3, 3), **SAME},
    "one lane short": {"shape": (2, V - 1, 7, 7), "oc": V - 1, "kernel": (3, 3), **SAME},
    "one lane more": {
        "shape": (1, V + 1, 6, 10),
        "oc": V + 1,
        "kernel": (3, 3),
        "dx_halo": (0, 3, 2, 1),
        "dy_halo": (1, 0, 2, 3),
        **SAME,
    },
    "one channel": {"shape": (2, 1, 5, 6), "oc": 1, "kernel": (3, 3), **SAME},
    "one window": {"shape": (2, 3, 2, 3), "oc": 5, "kernel": (3, 3), **SAME},
    "rows left out": {"shape": (2, 3, 9, 11), "oc": 7, "kernel": (3, 3), "dy_halo": (1, 1, 1, 1), **SAME},
    "valid, windows 3x2": {"shape": (3, 2, 13, 8), "oc": V + 2, "kernel": (4, 3), "window": (3, 2)},
    "windows 1x2": {"shape": (2, V, 5, 9), "oc": V, "kernel": (3, 3), "window": (1, 2), **SAME},
    "windows 4x4": {"shape": (1, 2, 17, 13), "oc": V + 1, "kernel": (3, 3), "window": (4, 4), **SAME},
    "no pool": {"shape": (2, V + 2, 7, 9), "oc": V + 3, "kernel": (3, 3), "window": (1, 1), **SAME},
    "stride 2": {"shape": (2, V + 2, 11, 12), "oc": V + 1, "kernel": (3, 3), "stride": (2, 2), **SAME},
    "stride 2, no pool": {
        "shape": (2, 2 * V, 8, 9),
        "oc": V,
        "kernel": (4, 2),
        "stride": (2, 2),
        "window": (1, 1),
        **SAME,
    },
    "strides 1 and 3": {"shape": (2, 3, 6, 17), "oc": 4, "kernel": (3, 5), "stride": (1, 3), "pads": (1, 1, 2, 2)},
    "stride beyond the kernel": {"shape": (3, V, 13, 18), "oc": V, "kernel": (2, 1), "stride": (3, 4)},
    "1x1": {"shape": (3, 4 * V, 4, 6), "oc": 2 * V, "kernel": (1, 1)},
    "1x1 of one pixel": {"shape": (2, 1, 1, 1), "oc": 1, "kernel": (1, 1), "window": (1, 1)},
    "1x1 stride 3, no pool": {"shape": (2, V, 8, 8), "oc": 6, "kernel": (1, 1), "stride": (3, 3), "window": (1, 1)},
    "2x2, two vectors": {"shape": (2, 2 * V, 7, 7), "oc": 20, "kernel": (2, 2)},
    "5x5": {"shape": (2, 6, 14, 14), "oc": 16, "kernel": (5, 5)},
    "5x5 same, many channels": {"shape": (1, V, 6, 8), "oc": 70, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    "7x7 stride 3": {"shape": (1, 4, 24, 23), "oc": V, "kernel": (7, 7), "stride": (3, 3), "pads": (3, 3, 3, 3)},
    "11x11 stride 4": {
        "shape": (2, 2, 27, 30),
        "oc": V + 3,
        "kernel": (11, 11),
        "stride": (4, 4),
        "pads": (2, 2, 2, 2),
    },
    "11x11": {"shape": (1, 2, 6, 17), "oc": 3, "kernel": (11, 11), "pads": (5, 5, 5, 5)},
    "7x1, wide pads": {"shape": (2, 5, 11, 3), "oc": V + 2, "kernel": (7, 1), "pads": (6, 6, 1, 1)},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_input_gradient(isa: str, dtype: str, name: str) -> None:
    check_kernel(make_spec(isa, dtype, **CASES[name]), isa, emit=conv2d_dx_sparse.emit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_lists(isa: str, dtype: str, name: str) -> None:
    check_kernel(lists_of(make_spec(isa, dtype, **CASES[name])), isa, emit=live_entries.emit)
