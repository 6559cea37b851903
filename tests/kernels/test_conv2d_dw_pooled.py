"""The weight gradient behind a max pool for planar inputs, at the edges of its tiles, chunks, bands and slices."""

from __future__ import annotations

from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.sparse import conv2d_dw_pooled
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.sparse.conv2d_dw_pooled import choose_tile
from tests.kernels import wide_pads
from tests.kernels.pooled_shapes import SAME, make_spec
from tests.kernels.support import V

CASES: dict[str, dict[str, Any]] = {
    "three planes": {"shape": (2, 3, 10, 12), "oc": 2 * V, "kernel": (3, 3), "dy_halo": (1, 1, 1, 1), **SAME},
    "one plane": {"shape": (3, 1, 13, 12), "oc": 6, "kernel": (5, 5), "bias": False},
    "ragged oc": {"shape": (1, 2, 7, 9), "oc": 2 * V + 3, "kernel": (3, 3), "dy_halo": (0, 2, 3, 1), **SAME},
    "one lane short": {"shape": (2, 3, 6, 6), "oc": V - 1, "kernel": (3, 3), **SAME},
    "five planes": {"shape": (1, 5, 6, 8), "oc": V + 1, "kernel": (3, 3), **SAME},
    "one window": {"shape": (2, 1, 2, 2), "oc": 1, "kernel": (1, 1)},
    "bands, ragged": {"shape": (2, 1, 46, 130), "oc": V, "kernel": (3, 3), **SAME},
    "window 2x3": {"shape": (2, 3, 9, 14), "oc": V + 2, "kernel": (3, 3), "window": (2, 3), **SAME},
    "window 3x3": {"shape": (1, 3, 12, 13), "oc": V, "kernel": (2, 3), "window": (3, 3)},
    "window 5x1": {"shape": (1, 2, 11, 4), "oc": V, "kernel": (1, 3), "window": (5, 1)},
    "window 3x3 by 2": {
        "shape": (2, 3, 9, 12), "oc": V + 2, "kernel": (3, 3), "window": (3, 3), "step": (2, 2), **SAME,
    },
    "window 2x2 by 3, gaps": {
        "shape": (2, 1, 12, 13), "oc": V, "kernel": (5, 5), "window": (2, 2), "step": (3, 3), **SAME,
    },
    "window 4x4, bands": {"shape": (2, 1, 49, 130), "oc": 2 * V, "kernel": (3, 3), "window": (4, 4), **SAME},
    "window 4x4 by 3, stride 2": {
        "shape": (1, 3, 21, 22), "oc": 5, "kernel": (3, 3), "stride": (2, 2), "window": (4, 4), "step": (3, 3), **SAME,
    },
    "window 5x5": {"shape": (1, 2, 17, 12), "oc": V, "kernel": (3, 3), "window": (5, 5), **SAME},
    "window 9x8 by 8": {"shape": (1, 1, 18, 26), "oc": 3, "kernel": (3, 3), "window": (9, 8), "step": (8, 8)},
    "strides and asymmetric pads": {
        "shape": (2, 3, 10, 9), "oc": 5, "kernel": (5, 2), "stride": (2, 3), "pads": (2, 1, 0, 1), "window": (2, 1),
    },
    "7x7 stride 2": {
        "shape": (1, 3, 21, 21), "oc": 2 * V, "kernel": (7, 7), "stride": (2, 2), "pads": (3, 3, 3, 3),
    },
    "11x11 stride 4": {
        "shape": (3, 2, 27, 27), "oc": 2 * V + 3, "kernel": (11, 11), "stride": (4, 4), "pads": (2, 2, 2, 2),
    },
    **wide_pads.CASES,
}  # fmt: skip


def spec_of(isa: str, dtype: str, **case: Any) -> Conv2dBackwardWeightsPooled:
    return make_spec(Conv2dBackwardWeightsPooled, isa, dtype, **case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_weight_gradient(isa: str, dtype: str, name: str) -> None:
    check_kernel(spec_of(isa, dtype, **CASES[name]), isa, emit=conv2d_dw_pooled.emit)


@pytest.mark.parametrize("width", range(1, 10))
def test_every_remainder_of_the_bias_chains(isa: str, width: int) -> None:
    spec = spec_of(isa, "float32", shape=(2, 1, 4, 2 * width), oc=5, kernel=(3, 3), **SAME)
    check_kernel(spec, isa, emit=conv2d_dw_pooled.emit)


def test_tile_of_a_first_layer(isa: str) -> None:
    """Enough independent sums to hide the latency, all positions of the window in one pass."""
    tile = choose_tile(spec_of(isa, "float32", shape=(1, 3, 16, 16), oc=2 * V, kernel=(3, 3), **SAME), ISAS[isa])
    assert tile.channels * tile.kernel_rows * tile.kernel_cols == (9 if ISAS[isa].n_vregs == 16 else 27)
    assert tile.positions == 4
    assert "accumulators" in str(tile)


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        listing = conv2d_dw_pooled.emit(spec_of(isa, "float32", **case), ISAS[isa])
        assert listing.n_instructions < 3000, listing.symbol
