"""The forward convolution, at the edges of its tiles, groups, channel blocks, windows and slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.conv import conv2d_fwd
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import Activation, Conv, Conv2dForward, Pool
from asmgen.tile.conv.conv2d_fwd import choose_tile
from tests.kernels import wide_pads
from tests.kernels.support import V, channels

RELU = Activation("relu")


def make_spec(
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    pool: tuple[str, int, int] | None = None,
    act: Activation = RELU,
    codes: bool = True,
    planar: bool = False,
    bias: bool = True,
    y_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Conv2dForward:
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    kind, ph, pw = pool or ("", 1, 1)
    rows, cols = ((h + top + bottom - kh) // sh + 1) // ph, ((w + left + right - kw) // sw + 1) // pw
    oh, ow = rows * ph, cols * pw
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    x = Image(n, c, h, w, 1 if planar else lanes, dtype, halo)
    conv = Conv(x, ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, bias)
    y = Image(n, oc, rows, cols, lanes, dtype, Halo(*y_halo))
    return Conv2dForward(conv, y, act, Pool(kind, ph, pw, ph, pw) if pool else None, codes and pool is not None)


SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
CASES: dict[str, dict[str, Any]] = {
    "first layer": {
        "shape": (2, 3, 8, 12),
        "oc": V + 1,
        "kernel": (3, 3),
        "planar": True,
        "pool": ("max", 2, 2),
        **SAME,
    },
    "first layer, odd image, leaky": {
        "shape": (3, 3, 9, 15),
        "oc": 2 * V,
        "kernel": (3, 3),
        "planar": True,
        "pool": ("max", 2, 2),
        "act": Activation("leaky_relu", 0.25),
        "y_halo": (2, 1, 0, 3),
        **SAME,
    },
    "one gray plane": {"shape": (3, 1, 14, 12), "oc": 6, "kernel": (5, 5), "planar": True, "pool": ("avg", 2, 2)},
    "whole blocks": {"shape": (5, V, 8, 8), "oc": 2 * V, "kernel": (3, 3), "pool": ("max", 2, 2), **SAME},
    "ragged blocks, three oc": {"shape": (1, 2 * V + 3, 5, 13), "oc": 3 * V, "kernel": (3, 3), "bias": False, **SAME},
    "one lane short": {"shape": (2, V - 1, 7, 7), "oc": V - 1, "kernel": (3, 3), "act": Activation(), **SAME},
    "one lane more": {"shape": (1, V + 1, 6, 10), "oc": 2 * V + 3, "kernel": (3, 3), "y_halo": (1, 1, 1, 1), **SAME},
    "window of nine": {"shape": (2, V + 2, 9, 11), "oc": V + 2, "kernel": (3, 3), "pool": ("max", 3, 3), **SAME},
    "flat window": {"shape": (2, 3, 5, 13), "oc": 5, "kernel": (1, 3), "pool": ("max", 1, 4)},
    "tall window, no codes": {
        "shape": (2, 2, 9, 7),
        "oc": V,
        "kernel": (3, 1),
        "pool": ("max", 3, 1),
        "codes": False,
    },
    "mean of eight live": {"shape": (2, V, 8, 9), "oc": V + 3, "kernel": (2, 2), "pool": ("avg", 4, 2), "bias": False},
    "mean of nine, no activation": {
        "shape": (1, 4, 9, 9),
        "oc": V,
        "kernel": (1, 1),
        "pool": ("avg", 3, 3),
        "act": Activation(),
        "codes": False,
    },
    "mean, slope above one": {
        "shape": (1, 4, 6, 9),
        "oc": V,
        "kernel": (2, 3),
        "pool": ("avg", 2, 2),
        "act": Activation("leaky_relu", 1.5),
    },
    "negative slope": {"shape": (1, 2, 5, 5), "oc": 3, "kernel": (2, 2), "act": Activation("leaky_relu", -0.5)},
    "strides, asymmetric pads, pool": {
        "shape": (2, V + 1, 12, 15),
        "oc": 5,
        "kernel": (5, 2),
        "stride": (2, 3),
        "pads": (2, 1, 0, 1),
        "pool": ("max", 2, 2),
    },
    "stride beyond the kernel": {"shape": (3, V, 9, 9), "oc": V, "kernel": (2, 2), "stride": (3, 3)},
    "1x1": {"shape": (7, 2 * V + 2, 4, 5), "oc": V, "kernel": (1, 1)},
    "1x1, eight blocks": {"shape": (1, 2 * V, 3, 2), "oc": 8 * V - 1, "kernel": (1, 1)},
    "1x1 of one pixel": {"shape": (2, 1, 1, 1), "oc": 1, "kernel": (1, 1)},
    "7x7 stride 2": {
        "shape": (1, 3, 21, 21),
        "oc": 2 * V,
        "kernel": (7, 7),
        "stride": (2, 2),
        "pads": (3, 3, 3, 3),
        "planar": True,
    },
    "11x11 stride 4": {"shape": (3, 2, 23, 23), "oc": 2 * V + 3, "kernel": (11, 11), "stride": (4, 4), "planar": True},
    "11x11": {"shape": (1, 2, 13, 17), "oc": V, "kernel": (11, 11), "pads": (5, 5, 5, 5), "pool": ("max", 2, 2)},
    "7x1": {"shape": (2, 5, 11, 3), "oc": V + 2, "kernel": (7, 1), "pads": (3, 3, 0, 0)},
    **wide_pads.CASES,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_forward(isa: str, dtype: str, name: str) -> None:
    check_kernel(make_spec(isa, dtype, **CASES[name]), isa, emit=conv2d_fwd.emit)


@pytest.mark.parametrize("name", CASES)
def test_fetching_the_rows_below(isa: str, name: str) -> None:
    """Beyond the last row and the last sample there is no memory."""
    spec = make_spec(isa, "float32", **CASES[name])
    tile = replace(choose_tile(spec, ISAS[isa]), prefetches=True)
    check_kernel(spec, isa, emit=lambda spec, isa: conv2d_fwd.emit(spec, isa, tile))


@pytest.mark.parametrize("width", range(1, 33))
def test_every_split_of_a_row(isa: str, width: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, 3, 2, width), V + 1, (3, 3), **SAME), isa, emit=conv2d_fwd.emit)


@pytest.mark.parametrize("width", range(2, 34, 2))
def test_every_split_of_a_pooled_row(isa: str, width: int) -> None:
    spec = make_spec(isa, "float32", (1, 3, 2, width), 2 * V, (3, 3), pool=("max", 2, 2), **SAME)
    check_kernel(spec, isa, emit=conv2d_fwd.emit)


@pytest.mark.parametrize("blocks", range(1, 10))
def test_every_split_of_the_output_channels(isa: str, blocks: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, 2, 3, 3), blocks * V, (2, 2)), isa, emit=conv2d_fwd.emit)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 33])
def test_every_remainder_of_the_channels(isa: str, channels: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, channels, 4, 5), V, (1, 1)), isa, emit=conv2d_fwd.emit)


def test_tile_of_a_middle_layer(isa: str) -> None:
    """The registers are used, sums hide the latency, and every pixel and vector belongs to one tile."""
    spec = make_spec(isa, "float32", (1, 2 * V, 32, 32), 4 * V, (3, 3), pool=("max", 2, 2), **SAME)
    tile = choose_tile(spec, ISAS[isa])
    largest = max((run.tile for group in tile.groups for run in group.runs), key=lambda tile: tile.n_accumulators)
    assert largest.n_accumulators >= (12 if ISAS[isa].n_vregs == 16 else 24)
    assert largest.n_accumulators + largest.n_weights + 1 <= ISAS[isa].n_vregs
    assert sum(group.vectors * group.count for group in tile.groups) == spec.conv.weights.n_oc_blocks
    for group in tile.groups:
        assert sum(run.count * run.tile.cols for run in group.runs) == spec.conv.ow
        assert all(run.tile.cols % 2 == 0 and run.tile.rows == 2 for run in group.runs)
    assert "2 x 6 pixels" in str(tile) or "2 x 2 pixels" in str(tile)


def test_a_window_beyond_the_registers_is_refused() -> None:
    spec = make_spec("sse41", "float32", (1, 1, 4, 4), 1, (1, 1), pool=("max", 4, 4))
    with pytest.raises(ValueError, match="window of 4 x 4 does not fit the 16 registers of sse41"):
        choose_tile(spec, ISAS["sse41"])


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        listing = conv2d_fwd.emit(make_spec(isa, "float32", **case), ISAS[isa])
        assert listing.n_instructions < 3500, listing.symbol
