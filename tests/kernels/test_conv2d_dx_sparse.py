"""The sparse input gradient and the lists it walks, at the edges of dx, of channel sets, sweeps and channel blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.asm.listing import Listing
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.cases.case import n_codes, pack_codes, unwritten
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.sparse import conv2d_dx_sparse, live_entries
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.policy import behind_large_windows
from asmgen.plan.specs import Conv, Conv2dBackwardInputSparse, LiveEntries, Pool
from asmgen.reference import ops
from asmgen.tile.sparse.conv2d_dx_scatter import PatchTile
from asmgen.tile.sparse.conv2d_dx_sparse import SparseInputTile, candidates, choose_tile, lists_have_codes
from tests.kernels import wide_pads
from tests.kernels.pooled_shapes import windows_of
from tests.kernels.support import V, channels


def make_spec(
    isa: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    oc: int,
    kernel: tuple[int, int],
    *,
    window: tuple[int, int] = (2, 2),
    step: tuple[int, int] | None = None,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dy_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
    dx_halo: tuple[int, int, int, int] = (0, 0, 0, 0),
    has_codes: bool | None = None,
) -> Conv2dBackwardInputSparse:
    """window (1, 1): no pool. step: from window to window, else they tile. has_codes: else by the window.

    Rows and columns of the convolution that fill no window are left out, as in a plan.
    """
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (kh, kw), (sh, sw), (top, bottom, left, right) = shape, kernel, stride, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    pool = Pool("max", *window, *(step or window))
    dy_h, dy_w, oh, ow = windows_of(pool, (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1)
    halo = Halo(top, max(0, (oh - 1) * sh + kh - top - h), left, max(0, (ow - 1) * sw + kw - left - w))
    x = Image(n, c, h, w, lanes, dtype, halo)
    conv = Conv(x, ConvWeights(oc, c, kh, kw, lanes, dtype), oh, ow, sh, sw, top, left, True)
    dy = Image(n, oc, dy_h, dy_w, lanes, dtype, Halo(*dy_halo))
    dx = Image(n, c, h, w, lanes, dtype, Halo(*dx_halo))
    has_codes = behind_large_windows(conv, pool) if has_codes is None else has_codes
    return Conv2dBackwardInputSparse(conv, dy, dx, None if window == (1, 1) else pool, has_codes)


def lists_of(spec: Conv2dBackwardInputSparse) -> LiveEntries:
    return LiveEntries(spec.conv, spec.dy, spec.pool, spec.has_codes)


SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
CASES: dict[str, dict[str, Any]] = {
    "whole blocks": {"shape": (3, V, 8, 8), "oc": 2 * V, "kernel": (3, 3), "dx_halo": (1, 1, 1, 1), **SAME},
    "several sets": {"shape": (2, 2 * V, 6, 6), "oc": 2 * V + 100, "kernel": (3, 3), **SAME},
    "ragged set, three c": {"shape": (1, 3 * V, 4, 10), "oc": 5 * V + 3, "kernel": (3, 3), **SAME},
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
    "windows 3x3 by 2": {
        "shape": (2, V + 1, 9, 12),
        "oc": V + 2,
        "kernel": (3, 3),
        "window": (3, 3),
        "step": (2, 2),
        **SAME,
    },
    "windows 3x3 by 1, a row each": {
        "shape": (1, 2, 3, 9),
        "oc": 5,
        "kernel": (2, 3),
        "window": (2, 3),
        "step": (1, 1),
        **SAME,
    },
    "windows 2x2 by 3, gaps": {
        "shape": (2, 3, 12, 13),
        "oc": V + 1,
        "kernel": (3, 3),
        "window": (2, 2),
        "step": (3, 3),
        **SAME,
    },
    "windows 2x3 by 3x2, kernel within gaps": {
        "shape": (1, V, 14, 13),
        "oc": 6,
        "kernel": (1, 2),
        "window": (2, 3),
        "step": (5, 2),
        "dx_halo": (1, 2, 3, 0),
    },
    "windows 4x4 by 2, stride 2": {
        "shape": (1, 3, 19, 21),
        "oc": V,
        "kernel": (3, 3),
        "stride": (2, 2),
        "window": (4, 4),
        "step": (2, 2),
        **SAME,
    },
    "windows 6x6": {
        "shape": (2, V + 1, 17, 12),
        "oc": V + 3,
        "kernel": (3, 3),
        "window": (6, 6),
        "dx_halo": (1, 1, 1, 1),
        **SAME,
    },
    "windows 5x5": {"shape": (1, V, 12, 10), "oc": V, "kernel": (3, 3), "window": (5, 5), **SAME},
    "windows 5x7 by 3x4, two vectors": {
        "shape": (2, 2 * V, 13, 19),
        "oc": 2 * V + 70,
        "kernel": (3, 3),
        "window": (5, 7),
        "step": (3, 4),
        "dy_halo": (1, 0, 2, 1),
        **SAME,
    },
    "windows 8x8 by 10, gaps": {
        "shape": (1, 2, 20, 21),
        "oc": 5,
        "kernel": (5, 5),
        "window": (8, 8),
        "step": (10, 10),
        "pads": (2, 2, 2, 2),
    },
    "windows 8x8, pads 0": {"shape": (2, 3 * V, 17, 18), "oc": V, "kernel": (2, 2), "window": (8, 8)},
    "window 16x16, stride 2": {
        "shape": (1, 1, 32, 33),
        "oc": V,
        "kernel": (3, 3),
        "stride": (2, 2),
        "window": (16, 16),
        **SAME,
    },
    "window 1x200": {"shape": (1, 1, 2, 410), "oc": 2, "kernel": (1, 1), "window": (1, 200), "step": (1, 100)},
    "7x1, wide pads": {"shape": (2, 5, 11, 3), "oc": V + 2, "kernel": (7, 1), "pads": (6, 6, 1, 1)},
    **wide_pads.CASES,
    **{f"{name}, no pool": {**case, "window": (1, 1)} for name, case in wide_pads.CASES.items()},
    **{
        f"{name}, windows 3x3 by 2": {**case, "window": (3, 3), "step": (2, 2)}
        for name, case in wide_pads.CASES.items()
    },
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_input_gradient(isa: str, dtype: str, name: str) -> None:
    check_kernel(make_spec(isa, dtype, **CASES[name]), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_lists(isa: str, dtype: str, name: str) -> None:
    check_kernel(lists_of(make_spec(isa, dtype, **CASES[name])), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("window") != (1, 1)])
def test_lists_with_codes(isa: str, dtype: str, name: str) -> None:
    """Where masks are the rule, too."""
    spec = make_spec(isa, dtype, **CASES[name], has_codes=True)
    check_kernel(lists_of(spec), isa)
    check_kernel(spec, isa)


@pytest.mark.parametrize("has_codes", [False, True])
@pytest.mark.parametrize("width", range(1, 13))
@pytest.mark.parametrize("pad", range(3))
def test_edges(isa: str, width: int, pad: int, has_codes: bool) -> None:
    """Rows of few windows, of which the first, the last or all touch pixels outside."""
    shape, pads = (2, 2, 13 - width, width), (2 - pad, pad + 1, pad, 3 - pad // 2)
    check_kernel(make_spec(isa, "float32", shape, 3, (2, 3), window=(1, 2), pads=pads, has_codes=has_codes), isa)


def run(listing: Listing, memory: list[GuardedBuffer], n: int) -> None:
    assert call(load_kernel(listing), [buffer.address for buffer in memory], 0, n, listing.isa) == []


@pytest.mark.parametrize("name", ["whole blocks", "several sets", "rows left out", "5x5 same, many channels"])
def test_one_after_the_other(isa: str, name: str) -> None:
    """dx from dy and codes through the list that the first kernel made: exact with small integers."""
    spec = make_spec(isa, "float32", **CASES[name])
    lists, weights, rng = lists_of(spec), spec.conv.weights, np.random.default_rng(0)
    assert spec.pool is not None
    gradient = rng.integers(-2, 3, (spec.dy.n, spec.dy.c, spec.dy.h, spec.dy.w)).astype(np.float64)
    codes = rng.integers(0, spec.live.n_positions, gradient.shape).astype(np.uint8)
    w = rng.integers(-2, 3, (weights.oc, weights.c, weights.kh, weights.kw)).astype(np.float64)
    dy = GuardedBuffer(spec.dy.pack(gradient))
    packed_codes = GuardedBuffer(pack_codes(spec.dy, codes, np.zeros(n_codes(spec.dy), np.uint8)))
    packed_w = GuardedBuffer(weights.by_input().pack(w, np.zeros(weights.oc)))
    list_, dx = GuardedBuffer(np.full(lists.live.size_bytes, 0xEE, np.uint8)), GuardedBuffer(unwritten(spec.dx))
    run(live_entries.emit(lists, ISAS[isa]), [dy, packed_codes, list_], spec.dy.n)
    run(conv2d_dx_sparse.emit(spec, ISAS[isa]), [list_, packed_w, dx], spec.dx.n)
    (expected,) = ops.run(spec, *ops.run(lists, gradient, codes), w)
    np.testing.assert_array_equal(spec.dx.unpack(dx.read("float32")), expected)


def test_nan_is_live(isa: str) -> None:
    spec = make_spec(isa, "float32", (1, 1, 4, 4), 3, (1, 1))
    gradient = np.zeros((1, 3, 2, 2))
    gradient[0, 1, 0, 1] = np.nan
    dy, codes = GuardedBuffer(spec.dy.pack(gradient)), GuardedBuffer(np.zeros(n_codes(spec.dy), np.uint8))
    list_ = GuardedBuffer(np.full(spec.live.size_bytes, 0xEE, np.uint8))
    run(live_entries.emit(lists_of(spec), ISAS[isa]), [dy, codes, list_], 1)
    windows = spec.live.unpack(list_.read(np.uint8))
    assert np.isnan(windows[0, 1, 0, 1, 0])
    assert np.count_nonzero(windows) == 1


@pytest.mark.parametrize("name", CASES)
def test_sweeps_cover_every_position_and_tap_once(isa: str, name: str) -> None:
    spec = make_spec(isa, "float32", **CASES[name])
    tile, weights = choose_tile(spec, ISAS[isa]), spec.conv.weights
    assert isinstance(tile, PatchTile) == spec.has_codes
    if isinstance(tile, PatchTile):
        return
    spans = [(sweep.rows, sweep.cols, sweep.tap_rows, sweep.tap_cols) for sweep in tile.sweeps]
    products = [at for chosen in spans for at in product(*(range(span.first, span.stop) for span in chosen))]
    assert len(products) == len(set(products)) == spec.live.n_positions * weights.kh * weights.kw
    patches = [sweep.patch(spec.conv) for sweep in tile.sweeps]
    assert tile.n_accumulators == tile.vectors * max(rows.count * cols.count for rows, cols in patches)
    assert tile.n_accumulators <= ISAS[isa].n_vregs - (1 if ISAS[isa].has_fma else 2)
    assert spec.dx.n_c_blocks % tile.vectors == 0


def test_tile_of_a_middle_layer(isa: str) -> None:
    """All positions in one sweep where the registers hold 4x4 pixels, else one row of the window's positions."""
    tile = choose_tile(make_spec(isa, "float32", (1, 2 * V, 32, 32), 4 * V, (3, 3), **SAME), ISAS[isa])
    assert isinstance(tile, SparseInputTile)
    assert [sweep.n_positions for sweep in tile.sweeps] == ([4] if ISAS[isa].n_vregs == 32 else [2, 2])
    assert tile.vectors == 1


def test_code_stays_small(isa: str) -> None:
    for case in CASES.values():
        spec = make_spec(isa, "float32", **case)
        for listing in (conv2d_dx_sparse.emit(spec, ISAS[isa]), live_entries.emit(lists_of(spec), ISAS[isa])):
            assert listing.n_instructions < 4500, listing.symbol


def test_layout_of_a_list() -> None:
    """Channel sets fill a mask or L1; what is packed comes back."""
    spec = make_spec("avx512", "float32", (2, 32, 6, 8), 100, (3, 3), **SAME)
    live = spec.live
    assert (live.set_channels, live.n_channel_sets, live.n_positions) == (64, 2, 4)
    assert live.sample_bytes == 2 * 3 * 4 * (64 * 4 + 4 * 8)
    assert make_spec("avx512", "float32", (2, 32, 6, 8), 100, (5, 5)).live.set_channels == 16
    windows = np.zeros((2, 100, 3, 4, 4))
    rng = np.random.default_rng(0)
    np.put_along_axis(windows, rng.integers(0, 4, (2, 100, 3, 4, 1)), rng.integers(-1, 2, (2, 100, 3, 4, 1)), -1)
    np.testing.assert_array_equal(live.unpack(live.pack(windows)), windows)


@pytest.mark.parametrize("n_vectors", [1, 2, 6])
def test_patches_of_several_vectors(isa: str, n_vectors: int) -> None:
    spec = make_spec(isa, "float32", (2, 6 * V, 9, 15), V + 1, (2, 3), window=(6, 6), step=(3, 4), **SAME)
    tile = next(each.tile for each in candidates(spec, ISAS[isa]) if each.tile.vectors == n_vectors)
    check_kernel(spec, isa, emit=lambda spec, isa: conv2d_dx_sparse.emit(spec, isa, tile))


@pytest.mark.parametrize(
    ("level", "kernel", "window", "has_codes"),
    [
        ("avx512", 3, 2, False),
        ("avx512", 3, 5, False),
        ("avx512", 3, 8, True),
        ("sse41", 3, 2, False),
        ("sse41", 7, 4, True),
        ("avx2", 7, 4, True),
        ("avx2", 11, 5, True),
    ],
)
def test_which_lists_pay(level: str, kernel: int, window: int, has_codes: bool) -> None:
    """Codes where windows have many positions, or where the registers hold a small part of a large kernel's patch."""
    spec = make_spec(level, "float32", (1, 32, 50, 50), 64, (kernel, kernel), window=(window, window), has_codes=False)
    assert lists_have_codes(spec, ISAS[level]) == has_codes


def test_a_patch_beyond_the_frame() -> None:
    spec = make_spec("avx512", "float32", (1, 1, 71, 71), 1, (11, 11), stride=(4, 4), window=(16, 16))
    with pytest.raises(ValueError, match="patch of dx does not fit"):
        conv2d_dx_sparse.emit(spec, ISAS["avx512"])


def test_only_maxima_with_codes() -> None:
    spec = make_spec("avx2", "float32", (1, 8, 8, 8), 8, (3, 3), **SAME)
    with pytest.raises(ValueError, match="needs a max pool with codes"):
        replace(spec, pool=Pool("avg", 2, 2, 2, 2)).check()
    with pytest.raises(ValueError, match="needs a max pool with codes"):
        replace(spec, pool=Pool("max", 17, 17, 17, 17)).check()
    with pytest.raises(ValueError, match="does not fit"):
        replace(lists_of(spec), pool=None).check()
