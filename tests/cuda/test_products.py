"""Convolutions, dense layers and their gradients as matrix products: at the edges of channel blocks, strides, windows,
splits of K and tiles, in every arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile, replace_split
from asmgen.cuda.conv import conv2d_dw, conv2d_dx, conv2d_fwd
from asmgen.cuda.dense import dense_dw, dense_dx, dense_fwd
from asmgen.cuda.listing import CudaListing
from asmgen.harness.cuda.check import check_cuda_kernel, check_cuda_kernels
from asmgen.plan.specs import Activation, DenseBackwardInput, DenseBackwardWeights, DenseForward, KernelSpec
from tests.kernels import test_conv2d_dw, test_conv2d_dx, test_conv2d_fwd, wide_pads
from tests.kernels.dense_shapes import Shape
from tests.kernels.test_dense_dw import KINDS
from tests.kernels.test_dense_dw import make_spec as update_of

ISA = "avx512"  # a level whose vectors are as long as CUDA's blocks of channels: 64 bytes
MODES = [("float32", "float32"), ("float32", "tf32"), ("float64", "float32")]
V = 1000  # as in the tests of the CPU kernels: channel counts are 1000 * blocks + rest

FORWARD = [
    "first layer, odd image, leaky", "one gray plane", "whole blocks", "ragged blocks, three oc", "one lane more",
    "window of nine", "flat window", "tall window, no codes", "mean of eight live", "mean of nine, no activation",
    "mean, slope above one", "negative slope", "strides, asymmetric pads, pool", "stride beyond the kernel", "1x1",
    "1x1 of one pixel", "7x7 stride 2", "11x11", "7x1", *wide_pads.CASES,
]  # fmt: skip
BACKWARD_INPUT = [
    "whole blocks", "ragged blocks, three c", "one lane short", "one lane more", "a pool left rows out", "stride 2",
    "strides 1 and 3", "strides 3 and 1", "stride beyond the kernel", "1x1 stride 2", "1x1 of one pixel", "5x5",
    "11x11 stride 4", "7x1", *wide_pads.CASES,
]  # fmt: skip
BACKWARD_WEIGHTS = [
    "first layer", "one gray plane", "whole blocks, small samples", "ragged blocks, three oc", "one lane short",
    "one lane more", "strides and asymmetric pads", "stride beyond the kernel", "1x1", "1x1 of one pixel", "2x3",
    "7x7 stride 2", "11x11 stride 4", *wide_pads.CASES,
]  # fmt: skip
DENSE = [
    Shape(1, 0, 1, 1), Shape(3, 1, 0, 4), Shape(7, 7, 0, 10), Shape(17, 8, -1, 20), Shape(3, 0, 0, 7, image=(5, 3, 3)),
    Shape(16, 70, 3, 33),
]  # fmt: skip


def _some(names: list[str], mode: tuple[str, str]) -> list[str]:
    """Everything with three TF32 products; in the other arithmetics, which share all addresses, every third."""
    return names if mode == MODES[0] else names[MODES.index(mode) :: 3]


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_convolution(mode: tuple[str, str]) -> None:
    names = _some(FORWARD, mode)
    cases = [test_conv2d_fwd.make_spec(ISA, mode[0], **test_conv2d_fwd.CASES[name]) for name in names]
    check_cuda_kernels(cases, precision=mode[1])


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_input_gradient(mode: tuple[str, str]) -> None:
    names = _some(BACKWARD_INPUT, mode)
    cases = [test_conv2d_dx.make_spec(ISA, mode[0], **test_conv2d_dx.CASES[name]) for name in names]
    check_cuda_kernels(cases, precision=mode[1])


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_weight_gradient(mode: tuple[str, str]) -> None:
    names = _some(BACKWARD_WEIGHTS, mode)
    cases = [test_conv2d_dw.make_spec(ISA, mode[0], **test_conv2d_dw.CASES[name]) for name in names]
    check_cuda_kernels(cases, precision=mode[1])


def _dense(shape: Shape, dtype: str) -> Iterator[KernelSpec]:
    x, w, y = shape.layouts(ISA, dtype)
    yield DenseForward(x, w, y, True, Activation("relu"))
    yield DenseForward(x, w, y, False, Activation("leaky_relu", 0.25))
    yield DenseBackwardInput(y, w, x)
    kind, other = (KINDS[(DENSE.index(shape) + step) % len(KINDS)] for step in (0, 3))
    yield update_of(shape, ISA, dtype, kind)
    yield update_of(shape, ISA, dtype, other, weight_decay=0.01, bias=False)
    yield from (DenseBackwardWeights(x, y, w, bias) for bias in (True, False))


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_dense_layers(mode: tuple[str, str]) -> None:
    shapes = DENSE if mode == MODES[0] else DENSE[2:]
    check_cuda_kernels([spec for shape in shapes for spec in _dense(shape, mode[0])], precision=mode[1])


@pytest.mark.parametrize("mode", MODES, ids="-".join)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_optimizers(weight_decay: float, mode: tuple[str, str]) -> None:
    """All of them, behind sums by FMA and by matrix units."""
    shapes = (Shape(5, 7, 1, 6), Shape(40, 3, 0, 5))
    cases = [update_of(shape, ISA, mode[0], kind, weight_decay) for kind in KINDS for shape in shapes]
    check_cuda_kernels(cases, precision=mode[1])


# tiles ---------------------------------------------------------------------------------------------------------------

SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
_WIDE = {"shape": (2, 3 * V + 2, 9, 10), "oc": 6 * V, "kernel": (3, 3), **SAME}


def _emitted(module: Any, **changes: Any) -> Callable[[KernelSpec, str], CudaListing]:
    """The emitter with a changed tile; split: the wanted parts."""
    split = changes.pop("split", 1)

    def emit(spec: Any, precision: str) -> CudaListing:
        product = module.product(spec, precision)
        tile = replace_split(product, replace(choose_tile(product), split=1, **changes), split)
        listing: CudaListing = module.emit(spec, precision, tile)
        return listing

    return emit


def _name(tile: dict[str, Any]) -> str:
    warps, lane = "x".join(str(tile[name]) for name in ("warps_m", "warps_n")), f"{tile['slots']}x{tile['octets']}"
    return f"{warps} warps, {lane}, {tile.get('arithmetic', 'tf32x3')}"


_ROWS = {"warps_m": 2, "warps_n": 2, "slots": 8, "a_unit": 8, "octets": 1, "stages": 3, "stage_k_blocks": 2}
_SMALL = {"warps_m": 1, "warps_n": 1, "slots": 2, "a_unit": 2, "octets": 1, "stages": 2, "stage_k_blocks": 1}
_COLUMNS = {"warps_m": 1, "warps_n": 4, "slots": 4, "a_unit": 4, "octets": 2, "stages": 4, "stage_k_blocks": 4}
_UNITS = {"warps_m": 2, "warps_n": 1, "slots": 8, "a_unit": 4, "octets": 2, "stages": 3, "stage_k_blocks": 2}
_HALVES = _UNITS | {"warps_m": 1, "warps_n": 2, "slots": 4, "a_unit": 2, "unit": 2, "stages": 2, "stage_k_blocks": 4}


@pytest.mark.parametrize("tile", [_ROWS, _SMALL, _COLUMNS, _ROWS | {"arithmetic": "fma"}], ids=_name)
def test_tiles_of_pixels(tile: dict[str, Any]) -> None:
    spec = test_conv2d_fwd.make_spec(ISA, "float32", **_WIDE)
    check_cuda_kernel(spec, emit=_emitted(conv2d_fwd, **tile))
    if tile is _SMALL:  # a window in parts
        nine = test_conv2d_fwd.CASES["window of nine"]
        pooled = test_conv2d_fwd.make_spec(ISA, "float32", **nine)
        check_cuda_kernel(pooled, emit=_emitted(conv2d_fwd, window_slots=2, **tile))
        # Two warps, and an odd number of steps: the last one reads the stage that the next part's copies begin with.
        odd = test_conv2d_fwd.make_spec(ISA, "float32", **nine | {"shape": (2, V, 9, 11)})
        check_cuda_kernel(odd, emit=_emitted(conv2d_fwd, window_slots=2, **tile | {"warps_m": 2}))
        check_cuda_kernel(test_conv2d_dx.make_spec(ISA, "float32", **_WIDE), emit=_emitted(conv2d_dx, **tile))


@pytest.mark.parametrize(
    "tile", [_UNITS, _HALVES | {"split": 3}, _UNITS | {"arithmetic": "fma", "split": 40}], ids=_name
)
def test_tiles_of_taps(tile: dict[str, Any]) -> None:
    check_cuda_kernel(test_conv2d_dw.make_spec(ISA, "float32", **_WIDE), emit=_emitted(conv2d_dw, **tile))


@pytest.mark.parametrize("tile", [_COLUMNS | {"split": 7}, _ROWS | {"arithmetic": "fma"}], ids=_name)
def test_tiles_of_dense_layers(tile: dict[str, Any]) -> None:
    shape = Shape(35, 30, 1, 70)
    x, w, y = shape.layouts(ISA, "float32")
    check_cuda_kernel(DenseForward(x, w, y, True, Activation("relu")), emit=_emitted(dense_fwd, **tile))
    tile = {name: value for name, value in tile.items() if name != "split"}
    check_cuda_kernel(DenseBackwardInput(y, w, x), emit=_emitted(dense_dx, **tile))
    tile["a_unit"] = 4
    for spec in (update_of(shape, ISA, "float32", "momentum"), DenseBackwardWeights(x, y, w, True)):
        check_cuda_kernel(spec, emit=_emitted(dense_dw, **tile))


def _tile(**facts: Any) -> tuple[Product, Tile]:
    product = Product(**{"window": 1, "element_bytes": 4, "precision": "float32", **facts})
    return product, choose_tile(product)


def test_arithmetic_follows_precision_and_length() -> None:
    layer = {"windows": 16384, "columns": 64, "k": 288, "k_blocks": 18}
    assert _tile(**layer)[1].arithmetic == "tf32x3"
    assert _tile(**layer, precision="tf32")[1].arithmetic == "tf32"
    assert _tile(**layer, element_bytes=8)[1].arithmetic == "dmma"
    assert _tile(**layer | {"k": 27, "k_blocks": 2})[1].arithmetic == "fma"


def test_middle_layers_fill_the_gpu() -> None:
    """Enough blocks for the multiprocessors, no pool window in parts, and a printable tile."""
    for windows, window, columns in ((16384, 4, 64), (4096, 4, 128), (16384, 1, 128), (65536, 1, 32)):
        product, tile = _tile(windows=windows, window=window, columns=columns, k=576, k_blocks=36)
        blocks = -(-windows // tile.windows) * -(-columns // tile.columns)
        assert blocks >= 128
        assert tile.window_slots == window
        assert tile.rows * tile.columns >= 64 * 64
        assert f"block {tile.rows} x {tile.columns}" in str(tile)
        assert tile == choose_tile(product)


def test_long_sums_are_split() -> None:
    """The weights of few channels, and a dense layer with few outputs: the parts fill the GPU, none is empty."""
    for rows, columns, k_blocks in ((64, 288, 4096), (16, 128, 2048)):
        _, tile = _tile(
            windows=rows, columns=columns, k=16 * k_blocks, k_blocks=k_blocks, split_bytes=4 * rows * columns
        )
        blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * tile.split
        assert blocks >= 128
        assert (tile.split - 1) * (-(-k_blocks // tile.split)) < k_blocks
