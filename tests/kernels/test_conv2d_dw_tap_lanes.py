"""The weight gradient behind a max pool whose lanes are taps, at the edges of its vectors, tiles, bands and slices."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Listing
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.sparse import conv2d_dw_pooled
from asmgen.tile.sparse.conv2d_dw_tap_lanes import TapTile, candidates
from tests.kernels import test_conv2d_dw_pooled, wide_pads
from tests.kernels.support import V
from tests.kernels.test_pixels import of_pixels

SAME3, SAME5 = (1, 1, 1, 1), (2, 2, 2, 2)
CASES: dict[str, dict[str, Any]] = {
    "lenet": {"shape": (3, 1, 28, 28), "oc": 6, "kernel": (5, 5), "pads": SAME5},
    "one channel": {"shape": (1, 1, 9, 17), "oc": 1, "kernel": (3, 3), "pads": SAME3},
    "three planes, halo": {"shape": (2, 3, 7, 31), "oc": 5, "kernel": (5, 5), "dy_halo": (1, 0, 2, 1)},
    "whole blocks": {"shape": (2, 2, 6, 33), "oc": 2 * V, "kernel": (3, 3), "pads": SAME3, "bias": False},
    "ragged blocks": {"shape": (2, 2, 6, 33), "oc": 2 * V + 1, "kernel": (3, 3), "window": (1, 3)},
    "1x1": {"shape": (3, 3, 4, 16), "oc": 7, "kernel": (1, 1)},
    "a row of two vectors": {"shape": (1, 1, 12, 40), "oc": 2, "kernel": (2, 17)},
    "11x11 stride 4": {"shape": (2, 2, 27, 31), "oc": 3, "kernel": (11, 11), "stride": (4, 4), "pads": SAME5},
    "window 3x3": {"shape": (1, 3, 12, 13), "oc": 4, "kernel": (2, 3), "window": (3, 3)},
    "window 2x1, strides": {
        "shape": (2, 3, 11, 9), "oc": 5, "kernel": (5, 2), "stride": (2, 3), "pads": (2, 1, 0, 1), "window": (2, 1),
    },
    "window 3x3 by 2, bands": {
        "shape": (2, 2, 47, 131), "oc": 6, "kernel": (3, 3), "pads": SAME3, "window": (3, 3), "step": (2, 2),
    },
    "window 2x3 by 4, gaps, bands": {
        "shape": (2, 2, 47, 131), "oc": 6, "kernel": (3, 3), "pads": SAME3, "window": (2, 3), "step": (4, 4),
    },
    "window 4x4": {"shape": (2, 3, 13, 19), "oc": V + 1, "kernel": (3, 3), "pads": SAME3, "window": (4, 4)},
    "window 5x5 by 3, stride 2": {
        "shape": (1, 1, 30, 28), "oc": 5, "kernel": (5, 5), "stride": (2, 2), "pads": SAME5,
        "window": (5, 5), "step": (3, 3),
    },
    "window 16x16": {"shape": (1, 1, 32, 36), "oc": 3, "kernel": (3, 3), "window": (16, 16)},
    "bands": {"shape": (2, 2, 46, 130), "oc": 6, "kernel": (3, 3), "pads": SAME3},
    **{name: case for name, case in wide_pads.CASES.items() if case["oc"] < V},
}  # fmt: skip


def spec_of(isa: str, dtype: str, **case: Any) -> Conv2dBackwardWeightsPooled:
    spec: Conv2dBackwardWeightsPooled = of_pixels(test_conv2d_dw_pooled.spec_of(isa, dtype, **case))
    return spec


def _emit(tile: TapTile, spec: Conv2dBackwardWeightsPooled, isa: Isa) -> Listing:
    return emit_kernel(spec, isa, tile)


def check_some(spec: Conv2dBackwardWeightsPooled, isa: str) -> None:
    """The best tile, the worst, and one between."""
    tiles = [each.tile for each in candidates(spec.of_part(), ISAS[isa])]
    for tile in dict.fromkeys((tiles[0], tiles[len(tiles) // 2], tiles[-1])):
        check_kernel(spec, isa, emit=partial(_emit, tile))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_tiles(isa: str, dtype: str, name: str) -> None:
    check_some(spec_of(isa, dtype, **CASES[name]), isa)


@pytest.mark.parametrize("width", [2, 15, 16, 17, 31, 33])
def test_every_end_of_a_row(isa: str, width: int) -> None:
    check_some(spec_of(isa, "float32", shape=(1, 1, 4, width), oc=6, kernel=(3, 3), pads=SAME3), isa)


def test_sample_parts(isa: str) -> None:
    spec = spec_of(isa, "float32", shape=(6, 1, 9, 12), oc=3, kernel=(3, 3), pads=SAME3)
    check_some(replace(spec, sample_parts=3), isa)
    blocks = spec_of(isa, "float32", shape=(6, 1, 9, 12), oc=2 * V, kernel=(3, 3), pads=SAME3)
    check_some(replace(blocks, sample_parts=2), isa)


def test_registers_hold_every_tile() -> None:
    """Emission raises where they do not."""
    for isa in ISAS.values():
        for dtype in ("float32", "float64"):
            spec = spec_of(isa.name, dtype, shape=(1, 3, 12, 12), oc=6, kernel=(3, 3))
            for each in candidates(spec, isa):
                emit_kernel(spec, isa, each.tile)


def test_what_it_does_not_do_is_no_candidate() -> None:
    case: dict[str, Any] = {"shape": (1, 1, 12, 12), "oc": 3, "kernel": (3, 3)}
    level = ISAS["avx2"]
    assert candidates(spec_of("avx2", "float32", **case), level)
    assert not candidates(test_conv2d_dw_pooled.spec_of("avx2", "float32", **case), level)


def test_few_channels_take_taps_in_lanes_and_many_do_not() -> None:
    level = ISAS["avx512"]
    few = spec_of("avx512", "float32", **CASES["lenet"])
    many = spec_of("avx512", "float32", **{**CASES["lenet"], "oc": 2 * V, "kernel": (3, 3)})
    assert isinstance(conv2d_dw_pooled.choose_tile(few, level), TapTile)
    assert not isinstance(conv2d_dw_pooled.choose_tile(many, level), TapTile)
