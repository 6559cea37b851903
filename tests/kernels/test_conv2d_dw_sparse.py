"""The sparse weight gradient, at the edges of its strips, chunks, tap groups, channel blocks and slices."""

from __future__ import annotations

from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.sparse import conv2d_dw_sparse
from asmgen.plan.specs import Conv2dBackwardWeightsSparse
from asmgen.tile.sparse.conv2d_dw_sparse import CHUNK, LIST_BYTES, STRIP_BYTES, choose_tile, strip_bytes
from tests.kernels import wide_pads
from tests.kernels.pooled_shapes import SAME, make_spec
from tests.kernels.support import V

CASES: dict[str, dict[str, Any]] = {
    "whole blocks": {"shape": (3, 2 * V, 8, 8), "oc": 2 * V, "kernel": (3, 3), "dy_halo": (1, 1, 1, 1), **SAME},
    "ragged blocks, three oc": {"shape": (1, 2 * V + 3, 5, 13), "oc": 3 * V, "kernel": (3, 3), "bias": False, **SAME},
    "one lane short": {"shape": (2, V - 1, 7, 7), "oc": V - 1, "kernel": (3, 3), **SAME},
    "one lane more": {"shape": (1, V + 1, 6, 10), "oc": 2 * V + 3, "kernel": (3, 3), "dy_halo": (0, 2, 3, 1), **SAME},
    "one channel, one window": {"shape": (2, 1, 2, 2), "oc": 1, "kernel": (1, 1)},
    "strips of rows, ragged": {"shape": (2, V, 62, 36), "oc": V, "kernel": (3, 3), **SAME},
    "parts of a row, ragged": {"shape": (1, 1, 4, 602), "oc": 3, "kernel": (3, 3), **SAME},
    "1x1, many blocks together": {"shape": (3, 9 * V + 2, 4, 6), "oc": V, "kernel": (1, 1)},
    "2x2, odd block": {"shape": (1, 3 * V, 7, 9), "oc": 5, "kernel": (2, 2)},
    "window 2x3": {"shape": (2, V, 9, 14), "oc": V + 2, "kernel": (3, 3), "window": (2, 3), **SAME},
    "window 3x3": {"shape": (1, V, 12, 13), "oc": V, "kernel": (2, 3), "window": (3, 3)},
    "window 1x4": {"shape": (1, 3, 5, 17), "oc": V, "kernel": (3, 1), "window": (1, 4)},
    "window 5x1": {"shape": (1, 3, 11, 4), "oc": V, "kernel": (1, 3), "window": (5, 1)},
    "window wider than a row step": {
        "shape": (1, 2, 4, 4), "oc": V, "kernel": (1, 1), "window": (2, 2), "stride": (1, 3),
    },
    "window 3x3 by 2": {
        "shape": (2, V + 1, 9, 12), "oc": V + 2, "kernel": (3, 3), "window": (3, 3), "step": (2, 2), **SAME,
    },
    "window 2x2 by 3, gaps": {
        "shape": (2, 3, 12, 13), "oc": V + 1, "kernel": (3, 3), "window": (2, 2), "step": (3, 3), **SAME,
    },
    "window 3x2 by 1": {"shape": (1, V, 6, 7), "oc": 3, "kernel": (2, 3), "window": (3, 2), "step": (1, 1)},
    "window 4x4 by 3, stride 2, strips": {
        "shape": (2, V, 62, 61), "oc": V, "kernel": (3, 3), "stride": (2, 2), "window": (4, 4), "step": (3, 3), **SAME,
    },
    "window 5x5": {"shape": (2, V, 17, 12), "oc": V + 3, "kernel": (3, 3), "window": (5, 5), **SAME},
    "window 16x16": {"shape": (1, 2, 33, 34), "oc": V, "kernel": (3, 3), "window": (16, 16), "bias": False, **SAME},
    "no pool": {"shape": (2, V, 7, 9), "oc": V + 1, "kernel": (3, 3), "window": None, **SAME},
    "strides and asymmetric pads": {
        "shape": (2, V + 1, 10, 9), "oc": 5, "kernel": (5, 2), "stride": (2, 3), "pads": (2, 1, 0, 1),
        "window": (2, 1),
    },
    "5x5": {"shape": (1, V, 9, 11), "oc": V, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    "7x7 stride 2": {
        "shape": (1, 3, 21, 21), "oc": 2 * V, "kernel": (7, 7), "stride": (2, 2), "pads": (3, 3, 3, 3),
    },
    "11x11 stride 4": {
        "shape": (5, 2, 27, 27), "oc": 2 * V + 3, "kernel": (11, 11), "stride": (4, 4), "pads": (2, 2, 2, 2),
    },
    **wide_pads.CASES,
}  # fmt: skip


def spec_of(isa: str, dtype: str, **case: Any) -> Conv2dBackwardWeightsSparse:
    return make_spec(Conv2dBackwardWeightsSparse, isa, dtype, **case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_weight_gradient(isa: str, dtype: str, name: str) -> None:
    check_kernel(spec_of(isa, dtype, **CASES[name]), isa, emit=conv2d_dw_sparse.emit)


@pytest.mark.parametrize("width", [*range(1, 8), CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_every_remainder_of_chunks_and_unrolled_pixels(isa: str, width: int) -> None:
    spec = spec_of(isa, "float32", shape=(2, 3, 4, 2 * width), oc=5, kernel=(3, 3), **SAME)
    check_kernel(spec, isa, emit=conv2d_dw_sparse.emit)


@pytest.mark.parametrize("name", CASES)
def test_tile_fits(isa: str, name: str) -> None:
    spec = spec_of(isa, "float64", **CASES[name])
    tile = choose_tile(spec, ISAS[isa])
    lanes = ISAS[isa].lanes("float64")
    assert tile.c_blocks * tile.taps + (1 if ISAS[isa].has_fma else 2) <= ISAS[isa].n_vregs
    assert lanes * tile.list_bytes <= LIST_BYTES
    assert tile.rows * tile.cols == 1 or tile.c_blocks * strip_bytes(spec, tile.rows, tile.cols) <= STRIP_BYTES
    assert "accumulators" in str(tile)


def test_middle_layers_walk_long_lists(isa: str) -> None:
    """Loading and storing the sums, and leaving the loop, are shared by many entries."""
    spec = spec_of(isa, "float32", shape=(1, 2 * V, 64, 64), oc=2 * V, kernel=(3, 3), **SAME)
    tile = choose_tile(spec, ISAS[isa])
    assert tile.rows * tile.cols >= 64
    assert tile.c_blocks * tile.taps >= 9


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        listing = conv2d_dw_sparse.emit(spec_of(isa, "float32", **case), ISAS[isa])
        assert listing.n_instructions < 3000, listing.symbol
