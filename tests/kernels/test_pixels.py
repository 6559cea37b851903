"""First layers that read u8 images: the convolution kernels at the edges of their strips, and the strips themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import KernelError, check_kernel
from asmgen.kernels.conv import conv2d_fwd
from asmgen.kernels.input import pixel_strip
from asmgen.plan.layout import ConvWeights
from asmgen.plan.specs import Conv, Pixels, Pool
from asmgen.tile.conv.conv2d_fwd import choose_tile
from asmgen.tile.input.pixel_strip import MAX_STRIP_BYTES, STRIP_BYTES, band_rows, reads_pixels
from tests.kernels import pooled_shapes, test_conv2d_dw, test_conv2d_fwd, wide_pads
from tests.kernels.support import V
from tests.kernels.test_conv2d_dw_pooled import spec_of as pooled_spec

POOL = {"pool": ("max", 2, 2)}
SAME = pooled_shapes.SAME

CASES: dict[str, dict[str, Any]] = {
    "three planes": {"shape": (3, 3, 10, 12), "oc": V + 1, "kernel": (3, 3), **SAME},
    "gray, no pads": {"shape": (3, 1, 13, 14), "oc": 6, "kernel": (5, 5)},
    "bands, ragged": {"shape": (2, 3, 46, 130), "oc": V, "kernel": (3, 3), **SAME},
    "a row at a time": {"shape": (1, 2 * V + 5, 9, 90), "oc": 3, "kernel": (4, 3), "pads": (2, 1, 1, 1)},
    "small samples": {"shape": (7, 2, 5, 6), "oc": V, "kernel": (3, 3), **SAME},
    "strides, asymmetric pads": {
        "shape": (2, 3, 11, 17), "oc": 5, "kernel": (5, 2), "stride": (2, 3), "pads": (2, 1, 0, 1),
    },
    "stride beyond the kernel": {"shape": (2, 2, 13, 11), "oc": V, "kernel": (1, 2), "stride": (3, 4)},
    "pads beyond the image": {"shape": (2, 2, 2, 3), "oc": 3, "kernel": (11, 11), "pads": (5, 5, 5, 5)},
    "1x1": {"shape": (4, 3, 4, 6), "oc": V, "kernel": (1, 1), "bias": False},
    "one window": {"shape": (1, 1, 2, 2), "oc": 1, "kernel": (1, 1)},
    "11x11 stride 4": {"shape": (2, 3, 27, 31), "oc": V + 3, "kernel": (11, 11), "stride": (4, 4)},
    **wide_pads.CASES,
}  # fmt: skip

#: Exact numbers, one pair for all channels; and rounded ones, a pair for each. A shift makes a halo of zeros visible.
CONSTANTS = {
    "uniform": lambda c: Pixels((2.0,) * c, (-3.0,) * c),
    "per channel": lambda c: Pixels(tuple((i + 1) / 255 for i in range(c)), tuple(0.25 - i for i in range(c))),
}


def of_pixels(spec: Any, constants: str = "per channel") -> Any:
    return replace(spec, conv=replace(spec.conv, pixels=CONSTANTS[constants](spec.conv.x.c)))


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_kernels_of_pixels(isa: str, dtype: str, name: str, constants: str) -> None:
    """Forward with and without a pool, and both weight gradients."""
    case = CASES[name]
    check_kernel(of_pixels(test_conv2d_fwd.make_spec(isa, dtype, **case, planar=True), constants), isa)
    check_kernel(of_pixels(test_conv2d_dw.make_spec(isa, dtype, **case, planar=True), constants), isa)
    check_kernel(of_pixels(test_conv2d_fwd.make_spec(isa, dtype, **case, planar=True, **POOL), constants), isa)
    check_kernel(of_pixels(pooled_spec(isa, dtype, **case), constants), isa)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 79])
def test_rows_of_every_width(isa: str, width: int) -> None:
    """A row may be shorter than a vector, end inside one, or fill the unrolled loop."""
    for dtype in ("float32", "float64"):
        spec = test_conv2d_fwd.make_spec(isa, dtype, (2, 2, 3, width), 3, (3, 3), planar=True, **SAME)
        check_kernel(of_pixels(spec), isa)


def test_reading_beside_an_image_is_noticed(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images lie between guard pages: rows above and below them must be made, not read."""
    monkeypatch.setattr(pixel_strip.PixelStrip, "_has_rows_outside", lambda _: False)
    spec = of_pixels(test_conv2d_fwd.make_spec(isa, "float32", (1, 1, 64, 64), 3, (3, 3), planar=True, **SAME))
    with pytest.raises(KernelError, match="touches images, .* (before its start|behind its end)|wrong"):
        check_kernel(spec, isa, emit=conv2d_fwd.emit)


def _conv(c: int, h: int, w: int, kernel: int) -> Conv:
    spec = test_conv2d_fwd.make_spec("avx2", "float32", (1, c, h, w), 8, (kernel, kernel), planar=True, **SAME)
    return of_pixels(spec).conv


def test_strips_stay_in_l1() -> None:
    """As many rows as fit, and about the same number in each strip."""
    conv = _conv(3, 128, 128, 3)
    rows = band_rows(conv, 64, Pool("max", 2, 2, 2, 2))
    assert conv.strip(2 * rows).size_bytes <= STRIP_BYTES
    assert -(-64 // rows) * rows - 64 < rows
    assert band_rows(_conv(1, 28, 28, 3), 28) == 28
    assert band_rows(_conv(200, 64, 64, 3), 64) == 1


def test_only_an_input_of_very_many_channels_is_stored() -> None:
    assert reads_pixels(_conv(3, 256, 256, 11), None)
    wide = _conv(200, 64, 64, 3)
    assert wide.strip(1).size_bytes > MAX_STRIP_BYTES
    assert not reads_pixels(wide, None)


def test_the_tile_says_how_many_rows_a_strip_has(isa: str) -> None:
    spec = test_conv2d_fwd.make_spec(isa, "float32", (1, 3, 46, 130), 8, (3, 3), planar=True, **SAME, **POOL)
    assert choose_tile(spec, ISAS[isa]).band_rows == 0
    tile = choose_tile(of_pixels(spec), ISAS[isa])
    assert 0 < tile.band_rows < 23
    assert f"{tile.band_rows} rows of y from a strip of pixels" in str(tile)


def test_pixels_are_planar() -> None:
    conv = _conv(3, 8, 8, 3)
    with pytest.raises(ValueError, match="pixels are planar, but x has blocks of 8 channels"):
        replace(conv, x=replace(conv.x, block=8), weights=ConvWeights(8, 3, 3, 3, 8, "float32"))
