"""Winograd's convolution, at the edges of its blocks, register tiles, channel blocks and slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.emit.planning import plan_for
from asmgen.harness.check import check_kernel
from asmgen.kernels.winograd.conv2d_winograd import emit_forward
from asmgen.model.load import load_model
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Halo, Image
from asmgen.plan.specs import (
    Activation,
    Conv,
    Conv2dBackwardInputWinograd,
    Conv2dForwardWinograd,
    Pool,
    WinogradWeights,
)
from asmgen.plan.winograd import MOST_INPUTS, TRANSFORMS
from asmgen.tile.winograd.conv2d_winograd import MAX_FRAME_BYTES, algorithms, choose_tile
from tests.kernels.support import V, channels

Shape = tuple[int, int, int, int]  # n, c, h, w; or top, bottom, left, right
RELU, LEAKY = Activation("relu"), Activation("leaky_relu", 0.1)


def make_conv(isa: str, dtype: str, shape: Shape, oc: int, pads: Shape, bias: bool) -> Conv:
    """pads: top, bottom, left, right."""
    lanes = ISAS[isa].lanes(dtype)
    (n, c, h, w), (top, bottom, left, right) = shape, pads
    c, oc = channels(c, lanes), channels(oc, lanes)
    x = Image(n, c, h, w, lanes, dtype, Halo(top, bottom, left, right))
    weights = ConvWeights(oc, c, 3, 3, lanes, dtype)
    return Conv(x, weights, h + top + bottom - 2, w + left + right - 2, 1, 1, top, left, bias)


def forward_spec(
    isa: str,
    dtype: str,
    m: int,
    shape: Shape,
    oc: int,
    *,
    pads: Shape = (1, 1, 1, 1),
    pool: tuple[str, int, int] | None = None,
    act: Activation = RELU,
    codes: bool = True,
    bias: bool = True,
    y_halo: Shape = (0, 0, 0, 0),
) -> Conv2dForwardWinograd:
    whole = make_conv(isa, dtype, shape, oc, pads, bias)
    kind, ph, pw = pool or ("", 1, 1)
    rows, cols = whole.oh // ph, whole.ow // pw
    conv = Conv(whole.x, whole.weights, rows * ph, cols * pw, 1, 1, whole.pt, whole.pl, bias)
    y = Image(shape[0], whole.weights.oc, rows, cols, ISAS[isa].lanes(dtype), dtype, Halo(*y_halo))
    window = Pool(kind, ph, pw, ph, pw) if pool else None
    return Conv2dForwardWinograd(conv, y, act, window, codes and pool is not None, m)


CASES: dict[str, dict[str, Any]] = {
    "one tile": {"shape": (1, 1, 4, 4), "oc": 1},
    "whole tiles, max": {"shape": (3, V, 8, 16), "oc": 2 * V, "pool": ("max", 2, 2)},
    "odd image, max": {"shape": (2, V + 1, 11, 13), "oc": V + 1, "pool": ("max", 2, 2)},
    "odd image": {"shape": (1, V - 1, 9, 15), "oc": 2 * V + 3, "y_halo": (1, 2, 3, 1)},
    "no pad": {"shape": (2, 2 * V + 3, 7, 8), "oc": V, "pads": (0, 0, 0, 0), "bias": False, "act": Activation()},
    "asymmetric pads": {
        "shape": (3, 5, 6, 17),
        "oc": 3 * V,
        "pads": (2, 1, 0, 2),
        "act": LEAKY,
    },
    "mean": {"shape": (2, V, 10, 6), "oc": V - 1, "pool": ("avg", 2, 2)},
    "mean, no codes": {"shape": (1, 3, 8, 10), "oc": 5, "pool": ("avg", 2, 1), "codes": False, "act": Activation()},
    "flat window": {"shape": (1, 7, 7, 18), "oc": V, "pool": ("max", 1, 2), "y_halo": (1, 1, 1, 1)},
    "tall window, no codes": {"shape": (2, 2, 19, 5), "oc": 4 * V, "pool": ("max", 2, 1), "codes": False},
    "five vectors": {"shape": (1, V + 2, 12, 20), "oc": 5 * V},
    "pads as the kernel": {"shape": (2, V, 5, 6), "oc": V, "pads": (3, 3, 3, 3), "pool": ("max", 2, 2)},
    "pads far beyond the image": {"shape": (1, 3, 2, 1), "oc": V + 1, "pads": (11, 9, 20, 7)},
    "a halo wider than the taps": {"shape": (2, V, 5, 5), "oc": V, "pads": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", TRANSFORMS)
@pytest.mark.parametrize("name", CASES)
def test_forward(isa: str, dtype: str, m: int, name: str) -> None:
    check_kernel(forward_spec(isa, dtype, m, **CASES[name]), isa)


def backward_spec(
    isa: str,
    dtype: str,
    m: int,
    shape: Shape,
    oc: int,
    pads: Shape,
    dx_halo: int = 0,
) -> Conv2dBackwardInputWinograd:
    """shape is dx's. dz has the halo that the turned taps read."""
    conv = make_conv(isa, dtype, shape, oc, pads, True)
    (top, bottom, left, right), lanes = pads, ISAS[isa].lanes(dtype)
    halo = Halo(*(max(0, 2 - pad) for pad in (top, bottom, left, right)))
    dz = Image(shape[0], conv.weights.oc, conv.oh, conv.ow, lanes, dtype, halo)
    dx = Image(shape[0], conv.x.c, shape[2], shape[3], lanes, dtype, Halo(dx_halo, dx_halo, dx_halo, dx_halo))
    return Conv2dBackwardInputWinograd(conv, dz, dx, m)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", TRANSFORMS)
@pytest.mark.parametrize(
    ("shape", "oc", "pads", "dx_halo"),
    [
        ((2, V, 8, 8), 2 * V, (1, 1, 1, 1), 0),
        ((3, V + 1, 7, 13), V - 1, (0, 0, 0, 0), 1),
        ((1, 2 * V + 3, 5, 6), 3, (2, 0, 1, 2), 2),
        ((2, 1, 4, 4), 1, (1, 1, 1, 1), 0),
        ((2, V, 6, 7), V + 1, (3, 3, 3, 3), 1),
        ((1, 3, 5, 4), V, (2, 3, 20, 11), 0),
    ],
)
def test_backward_input(isa: str, dtype: str, m: int, shape: Any, oc: int, pads: Any, dx_halo: int) -> None:
    check_kernel(backward_spec(isa, dtype, m, shape, oc, pads, dx_halo), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", TRANSFORMS)
@pytest.mark.parametrize(("oc", "c"), [(1, 1), (V, V), (2 * V + 3, 5), (V - 1, V + 1)])
def test_weights(isa: str, dtype: str, m: int, oc: int, c: int) -> None:
    lanes = ISAS[isa].lanes(dtype)
    weights = ConvWeights(channels(oc, lanes), channels(c, lanes), 3, 3, lanes, dtype)
    check_kernel(WinogradWeights(weights, m, mirrored=False), isa)
    check_kernel(WinogradWeights(weights.input_gradient(), m, mirrored=True), isa)
    check_kernel(WinogradWeights(weights.by_input(), m, mirrored=True), isa)


@pytest.mark.parametrize("width", range(4, 30))
def test_every_split_of_a_row(isa: str, width: int) -> None:
    check_kernel(forward_spec(isa, "float32", 4, (1, 3, 4, width), V + 1), isa)


@pytest.mark.parametrize("height", range(4, 22, 2))
def test_every_split_of_pooled_columns(isa: str, height: int) -> None:
    check_kernel(forward_spec(isa, "float32", 4, (1, 2, height, 8), V, pool=("max", 2, 2)), isa)


@pytest.mark.parametrize("blocks", range(1, 10))
def test_every_split_of_the_output_channels(isa: str, blocks: int) -> None:
    check_kernel(forward_spec(isa, "float32", 2, (1, 2, 4, 6), blocks * V), isa)


@pytest.mark.parametrize("m", TRANSFORMS)
def test_transforms(m: int) -> None:
    """A^T [(G g G^T) * (B^T d B)] A is the correlation of d with g."""
    transform, rng = TRANSFORMS[m], np.random.default_rng(m)
    d, g = rng.standard_normal((transform.side, transform.side)), rng.standard_normal((3, 3))
    bt, at = np.array(transform.bt), np.array(transform.at)
    y = at @ (transform.weights(g) * (bt @ d @ bt.T)) @ at.T
    expected = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(m)] for i in range(m)]
    assert np.allclose(y, expected, rtol=0, atol=1e-13)


def test_what_winograd_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than a tile"):
        forward_spec("avx512", "float32", 4, (1, 16, 3, 8), 16).check()
    with pytest.raises(ValueError, match="output channels in lanes"):
        WinogradWeights(ConvWeightsByInput(16, 16, 3, 3, 16, "float32"), 4, mirrored=False).check()


@pytest.mark.parametrize("m", TRANSFORMS)
def test_tile_of_a_middle_layer(isa: str, m: int) -> None:
    """Blocks cover the output, products every tile and vector; registers and frame suffice; it pays."""
    spec = forward_spec(isa, "float32", m, (16, 32, 64, 64), 64, pool=("max", 2, 2))
    tile, level = choose_tile(spec, ISAS[isa]), ISAS[isa]
    assert tile.n_rows * tile.rows * m >= 64
    assert tile.n_cols * tile.cols * m >= 64
    assert sum(group.vectors * group.count for group in tile.groups) == spec.u.n_blocks
    for group in tile.groups:
        assert sum(product.tiles * product.count for product in group.products) == tile.n_tiles
        assert all(product.tiles * product.vectors + 2 <= level.n_vregs for product in group.products)
    v, p = tile.scratch(spec.u)
    assert v.size_bytes + max(layout.size_bytes for layout in p) <= MAX_FRAME_BYTES
    assert algorithms(spec.conv, level)[0].tile
    assert algorithms(spec.conv, level, backward=True)[0].tile


def test_where_winograd_pays(isa: str) -> None:
    level = ISAS[isa]
    assert algorithms(forward_spec(isa, "float32", 4, (16, 64, 32, 32), 128).conv, level)[0].tile == 4
    assert algorithms(forward_spec(isa, "float32", 4, (16, 64, 32, 32), 128).conv, level, (2,))[0].tile == 2
    assert algorithms(forward_spec(isa, "float32", 4, (16, 1, 32, 32), 8).conv, level)[0].tile is None
    assert algorithms(forward_spec(isa, "float32", 2, (16, 64, 3, 3), 64).conv, level)[0].tile is None


@pytest.mark.parametrize("m", TRANSFORMS)
def test_the_error_keeps_its_limit_with_the_most_channels(isa: str, m: int) -> None:
    """`check_kernel` compares the errors' root mean square with it; more channels are for other algorithms."""
    level, lanes = ISAS[isa], ISAS[isa].lanes("float32")
    blocks = MOST_INPUTS[m] // lanes
    check_kernel(forward_spec(isa, "float32", m, (1, blocks * V, 8, 8), V), isa)
    check_kernel(backward_spec(isa, "float32", m, (1, V, 8, 8), blocks * V, (1, 1, 1, 1)), isa)
    most, more = (forward_spec(isa, "float32", m, (4, c * V, 32, 32), 8 * V).conv for c in (blocks, blocks + 1))
    assert m in (each.tile for each in algorithms(most, level))
    assert m not in (each.tile for each in algorithms(more, level))


@pytest.mark.parametrize("pads", [(3, 0, 0, 0), (0, 3, 0, 0), (0, 0, 3, 0), (0, 0, 0, 3)])
def test_outputs_over_nothing_but_padding_are_not_rounded(isa: str, pads: Shape) -> None:
    """F(4 x 4) sums what other outputs of a tile read, which cancels but for rounding; there, z must be the bias."""
    conv, level = forward_spec(isa, "float32", 4, (16, 64, 32, 32), 128, pads=pads).conv, ISAS[isa]
    near = forward_spec(isa, "float32", 4, (16, 64, 32, 32), 128, pads=tuple(min(2, pad) for pad in pads)).conv
    assert [4 in [each.tile for each in algorithms(each_conv, level)] for each_conv in (conv, near)] == [False, True]
    assert 2 in [each.tile for each in algorithms(conv, level)]
    assert 4 in [each.tile for each in algorithms(conv, level, backward=True)]


def test_precise_models_keep_to_small_tiles(isa: str) -> None:
    model = load_model("models/vgg_small.py")
    sizes = {
        precise: {getattr(spec, "m", None) for spec in plan_for(replace(model, precise=precise), ISAS[isa]).specs()}
        for precise in (False, True)
    }
    assert 4 in sizes[False]
    assert sizes[True] <= {None, 2}


def test_more_channels_than_a_frame_takes_are_refused() -> None:
    spec = forward_spec("avx512", "float64", 4, (1, 300 * V, 4, 4), 8)
    assert algorithms(spec.conv, ISAS["avx512"])[0].tile is None
    with pytest.raises(ValueError, match="the transforms of a tile need a frame above"):
        choose_tile(spec, ISAS["avx512"])


@pytest.mark.parametrize("m", TRANSFORMS)
def test_code_stays_small(isa: str, m: int) -> None:
    for case in CASES.values():
        listing = emit_forward(forward_spec(isa, "float32", m, **case), ISAS[isa])
        assert listing.n_instructions < 2500, listing.symbol
