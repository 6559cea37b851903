"""The weight gradient of the convolution, at the edges of its tiles, bands and slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.conv import conv2d_dw
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import Conv, Conv2dBackwardWeights
from asmgen.tile.conv.conv2d_dw import choose_tile
from tests.kernels import wide_pads
from tests.kernels.support import V, channels


def make_spec(
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    planar: bool = False,
    bias: bool = True,
    dz_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Conv2dBackwardWeights:
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    oh, ow = (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    x = Image(n, c, h, w, 1 if planar else lanes, dtype, halo)
    conv = Conv(x, ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, bias)
    return Conv2dBackwardWeights(conv, Image(n, oc, oh, ow, lanes, dtype, Halo(*dz_halo)))


SAME = {"pads": (1, 1, 1, 1)}
CASES: dict[str, dict[str, Any]] = {
    "first layer": {"shape": (2, 3, 9, 11), "oc": V + 1, "kernel": (3, 3), "planar": True, **SAME},
    "first layer, wide": {"shape": (1, 3, 17, 64), "oc": 2 * V, "kernel": (3, 3), "planar": True, **SAME},
    "one gray plane": {"shape": (3, 1, 13, 12), "oc": 6, "kernel": (5, 5), "planar": True},
    "whole blocks, small samples": {
        "shape": (5, V, 8, 8),
        "oc": 2 * V,
        "kernel": (3, 3),
        "dz_halo": (1, 1, 1, 1),
        **SAME,
    },
    "ragged blocks, three oc": {"shape": (1, 2 * V + 3, 5, 13), "oc": 3 * V, "kernel": (3, 3), "bias": False, **SAME},
    "one lane short": {"shape": (2, V - 1, 7, 7), "oc": V - 1, "kernel": (3, 3), **SAME},
    "one lane more": {"shape": (1, V + 1, 6, 10), "oc": 2 * V + 3, "kernel": (3, 3), **SAME},
    "bands, ragged": {"shape": (2, 2, 71, 70), "oc": 2 * V, "kernel": (3, 3), "dz_halo": (1, 2, 3, 0), **SAME},
    "strides and asymmetric pads": {
        "shape": (2, V + 1, 10, 9),
        "oc": 5,
        "kernel": (5, 2),
        "stride": (2, 3),
        "pads": (2, 1, 0, 1),
    },
    "stride beyond the kernel": {"shape": (3, V, 9, 9), "oc": V, "kernel": (2, 2), "stride": (3, 3)},
    "1x1": {"shape": (7, 2 * V + 2, 4, 5), "oc": V, "kernel": (1, 1)},
    "1x1 of one pixel": {"shape": (2, 1, 1, 1), "oc": 1, "kernel": (1, 1)},
    "2x3": {"shape": (1, 2 * V, 9, 10), "oc": 3, "kernel": (2, 3), "pads": (0, 1, 1, 1)},
    "7x7 stride 2": {
        "shape": (1, 3, 21, 21),
        "oc": 2 * V,
        "kernel": (7, 7),
        "stride": (2, 2),
        "pads": (3, 3, 3, 3),
        "planar": True,
    },
    "11x11 stride 4": {
        "shape": (5, 2, 23, 23),
        "oc": 2 * V + 3,
        "kernel": (11, 11),
        "stride": (4, 4),
        "pads": (2, 2, 2, 2),
    },
    "7x1": {"shape": (2, 5, 11, 3), "oc": V + 2, "kernel": (7, 1), "pads": (3, 3, 0, 0)},
    **wide_pads.CASES,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_weight_gradient(isa: str, dtype: str, name: str) -> None:
    spec = make_spec(isa, dtype, **CASES[name])
    check_kernel(spec, isa, emit=conv2d_dw.emit)


@pytest.mark.parametrize("width", range(1, 15))
def test_every_remainder_of_the_unrolled_columns(isa: str, width: int) -> None:
    check_kernel(make_spec(isa, "float32", (2, 3, 4, width), 5, (3, 3), **SAME), isa, emit=conv2d_dw.emit)


def test_parts_of_more_than_2_gb(isa: str) -> None:
    """More than an immediate of a multiplication: the product has the same factors."""
    spec = replace(make_spec(isa, "float64", (32768, V, 128, 128), 2 * V, (3, 3), **SAME), sample_parts=2)
    part_bytes = [16384 * image.sample_bytes for image in (spec.conv.x, spec.dz)]
    assert min(part_bytes) >= 1 << 31
    lines = [line.split(";")[0].strip() for line in conv2d_dw.emit(spec, ISAS[isa]).lines]
    for step, register in zip(part_bytes, ("rdi", "rsi"), strict=True):
        at = lines.index(f"mov r11, {step}")
        assert lines[at + 1] == "imul r11, rax"
        assert lines[at + 2].startswith(f"mov {register}, qword [rsp")
        assert lines[at + 3] == f"add {register}, r11"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 9, 17, 33])
def test_every_remainder_of_the_channels(isa: str, channels: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, channels, 5, 6), V + 1, (3, 3), **SAME), isa, emit=conv2d_dw.emit)


def test_tile_of_a_middle_layer(isa: str) -> None:
    """The registers hold a tile, the neighbouring columns of dz and a broadcast; enough sums to hide the latency."""
    spec = make_spec(isa, "float32", (1, 2 * V, 16, 16), 4 * V, (3, 3), **SAME)
    tile = choose_tile(spec, ISAS[isa])
    dz_registers = tile.window * tile.oc_vectors if tile.dz_in_registers else 1
    assert tile.accumulators >= (12 if ISAS[isa].n_vregs == 16 else 24)
    assert tile.accumulators + dz_registers + 1 <= ISAS[isa].n_vregs
    assert "accumulators" in str(tile)


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        listing = conv2d_dw.emit(make_spec(isa, "float32", **case), ISAS[isa])
        assert listing.n_instructions < 4000, listing.symbol
