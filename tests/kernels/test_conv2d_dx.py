"""The convolution's input gradient, at the edges of its tiles, groups, channel blocks, stride phases and slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.conv import conv2d_dx
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import Conv, Conv2dBackwardInput
from asmgen.tile.conv.conv2d_dx import choose_tile, column_phases
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
    unread: tuple[int, int] = (0, 0),
    dx_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Conv2dBackwardInput:
    """unread: rows and columns of the convolution's output that a pool behind it leaves out."""
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    oh, ow = (h + top + bottom - kh) // sh + 1 - unread[0], (w + left + right - kw) // sw + 1 - unread[1]
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    conv = Conv(
        Image(n, c, h, w, lanes, dtype, halo), ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, True
    )
    dz_halo = Halo(
        max(0, (kh - 1 - top) // sh),
        max(0, (h - 1 + top) // sh - (oh - 1)),
        max(0, (kw - 1 - left) // sw),
        max(0, (w - 1 + left) // sw - (ow - 1)),
    )
    dz = Image(n, oc, oh, ow, lanes, dtype, dz_halo)
    return Conv2dBackwardInput(conv, dz, Image(n, c, h, w, lanes, dtype, Halo(*dx_halo)))


SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
CASES: dict[str, dict[str, Any]] = {
    "whole blocks": {"shape": (5, V, 8, 8), "oc": 2 * V, "kernel": (3, 3), "dx_halo": (1, 1, 1, 1), **SAME},
    "ragged blocks, three c": {"shape": (1, 3 * V, 5, 13), "oc": 2 * V + 3, "kernel": (3, 3), **SAME},
    "one lane short": {"shape": (2, V - 1, 7, 7), "oc": V - 1, "kernel": (3, 3), **SAME},
    "one lane more": {"shape": (1, V + 1, 6, 10), "oc": V + 1, "kernel": (3, 3), "dx_halo": (0, 3, 2, 1), **SAME},
    "a pool left rows out": {"shape": (2, 3, 9, 11), "oc": 7, "kernel": (3, 3), "unread": (1, 2), **SAME},
    "valid": {"shape": (3, 2, 9, 8), "oc": V + 2, "kernel": (4, 3)},
    "stride 2": {"shape": (2, V + 2, 11, 12), "oc": V + 1, "kernel": (3, 3), "stride": (2, 2), **SAME},
    "stride 2, even kernel": {"shape": (2, 2 * V, 8, 8), "oc": V, "kernel": (4, 2), "stride": (2, 2), **SAME},
    "strides 1 and 3": {"shape": (2, 3, 6, 17), "oc": 4, "kernel": (3, 5), "stride": (1, 3), "pads": (1, 1, 2, 2)},
    "strides 3 and 1": {"shape": (2, 3, 17, 6), "oc": 4, "kernel": (5, 3), "stride": (3, 1), "pads": (2, 0, 1, 1)},
    "stride beyond the kernel": {"shape": (3, V, 11, 10), "oc": V, "kernel": (2, 1), "stride": (3, 4)},
    "1x1": {"shape": (7, 2 * V + 2, 4, 5), "oc": 2 * V, "kernel": (1, 1)},
    "1x1 stride 2": {"shape": (2, V, 7, 7), "oc": 6, "kernel": (1, 1), "stride": (2, 2)},
    "1x1 of one pixel": {"shape": (2, 1, 1, 1), "oc": 1, "kernel": (1, 1)},
    "5x5": {"shape": (2, 6, 14, 14), "oc": 16, "kernel": (5, 5)},
    "7x7 stride 3": {"shape": (1, 4, 19, 20), "oc": V, "kernel": (7, 7), "stride": (3, 3), "pads": (3, 3, 3, 3)},
    "11x11 stride 4": {
        "shape": (3, 2, 23, 23),
        "oc": V + 3,
        "kernel": (11, 11),
        "stride": (4, 4),
        "pads": (2, 2, 2, 2),
    },
    "11x11": {"shape": (1, 2, 6, 17), "oc": 3, "kernel": (11, 11), "pads": (5, 5, 5, 5)},
    "7x1": {"shape": (2, 5, 11, 3), "oc": V + 2, "kernel": (7, 1), "pads": (3, 3, 0, 0)},
    **wide_pads.CASES,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_input_gradient(isa: str, dtype: str, name: str) -> None:
    check_kernel(make_spec(isa, dtype, **CASES[name]), isa, emit=conv2d_dx.emit)


@pytest.mark.parametrize("name", CASES)
def test_fetching_the_rows_below(isa: str, name: str) -> None:
    """Beyond the last row and the last sample there is no memory."""
    spec = make_spec(isa, "float32", **CASES[name])
    tile = replace(choose_tile(spec, ISAS[isa]), prefetches=True)
    check_kernel(spec, isa, emit=lambda spec, isa: conv2d_dx.emit(spec, isa, tile))


@pytest.mark.parametrize("width", range(1, 33))
def test_every_split_of_a_row(isa: str, width: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, V + 1, 2, width), 3, (3, 3), **SAME), isa, emit=conv2d_dx.emit)


@pytest.mark.parametrize("blocks", range(1, 10))
def test_every_split_of_the_input_channels(isa: str, blocks: int) -> None:
    check_kernel(make_spec(isa, "float32", (1, blocks * V, 3, 3), 2, (2, 2)), isa, emit=conv2d_dx.emit)


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("pad", range(3))
def test_every_stride_phase_at_the_edges(isa: str, size: int, pad: int) -> None:
    """Images of few pixels, where a phase may have no pixel, no tap or neither."""
    spec = make_spec(isa, "float32", (2, 2, size, 8 - size), 2, (3, 3), stride=(2, 4), pads=(pad, 2, 2 - pad, 2))
    check_kernel(spec, isa, emit=conv2d_dx.emit)


def test_phases_cover_every_column_and_tap() -> None:
    spec = make_spec("avx2", "float32", (1, 1, 9, 23), 1, (3, 7), stride=(2, 3), pads=(1, 1, 2, 2))
    phases = column_phases(spec.conv)
    columns = sorted(phase.first + q * spec.conv.sw for phase in phases for q in range(phase.count))
    assert columns == list(range(23))
    assert sorted(j for phase in phases for _, j in phase.taps) == list(range(7))


def test_tile_of_a_middle_layer(isa: str) -> None:
    spec = make_spec(isa, "float32", (1, 2 * V, 32, 32), 4 * V, (3, 3), **SAME)
    tile = choose_tile(spec, ISAS[isa])
    runs = [run for group in tile.groups for _, phase_runs in group.phases for run in phase_runs]
    largest = max((run.tile for run in runs), key=lambda tile: tile.n_accumulators)
    assert largest.n_accumulators >= (10 if ISAS[isa].n_vregs == 16 else 16)
    assert largest.n_accumulators + largest.n_weights + 1 <= ISAS[isa].n_vregs
    assert tile.unroll_rows


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        listing = conv2d_dx.emit(make_spec(isa, "float32", **case), ISAS[isa])
        assert listing.n_instructions < 3500, listing.symbol
