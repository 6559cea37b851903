"""The forward convolution whose lanes are pixels, at the edges of its vectors, tiles and blocks of channels."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Listing
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.specs import Activation, Conv2dForward
from asmgen.tile.conv import conv2d_fwd
from asmgen.tile.conv.conv2d_fwd_pixel_lanes import PixelTile, candidates, channel_runs
from tests.kernels import test_conv2d_fwd, wide_pads
from tests.kernels.test_pixels import of_pixels

MAX2, SAME3, SAME5 = ("max", 2, 2), (1, 1, 1, 1), (2, 2, 2, 2)
LEAKY, STEEP, NONE = Activation("leaky_relu", 0.25), Activation("leaky_relu", 1.5), Activation()
WIDTHS = (1, 15, 16, 17, 31, 33)

CASES: dict[str, dict[str, Any]] = {
    "lenet": {"shape": (3, 1, 28, 28), "oc": 6, "kernel": (5, 5), "pads": SAME5, "pool": MAX2},
    "lenet, mean": {"shape": (1, 1, 28, 28), "oc": 6, "kernel": (5, 5), "pads": SAME5, "pool": ("avg", 2, 2)},
    "one channel": {"shape": (3, 1, 9, 17), "oc": 1, "kernel": (3, 3), "pads": SAME3, "pool": MAX2},
    "five channels, odd image": {"shape": (1, 3, 13, 31), "oc": 5, "kernel": (5, 5), "pool": MAX2, "act": LEAKY},
    "seven channels, 1x1": {"shape": (3, 3, 5, 33), "oc": 7, "kernel": (1, 1), "bias": False},
    "more than a block": {"shape": (1, 3, 6, 33), "oc": 17, "kernel": (3, 3), "pads": SAME3, "pool": MAX2},
    "two blocks": {"shape": (2, 1, 5, 34), "oc": 32, "kernel": (3, 3), "pads": SAME3},
    "blocks, halo, mean of live": {
        "shape": (1, 2, 8, 37), "oc": 22, "kernel": (2, 3), "pool": ("avg", 2, 2), "act": STEEP, "y_halo": (2, 1, 0, 3),
    },
    "mean without codes": {"shape": (2, 1, 7, 9), "oc": 3, "kernel": (2, 2), "pool": ("avg", 3, 2), "codes": False},
    "mean, no activation": {"shape": (1, 1, 6, 35), "oc": 9, "kernel": (1, 2), "pool": ("avg", 2, 1), "act": NONE},
    "no activation": {"shape": (1, 1, 6, 35), "oc": 12, "kernel": (3, 1), "pool": MAX2, "act": NONE},
    "tall window": {"shape": (1, 1, 11, 19), "oc": 3, "kernel": (2, 2), "pool": ("max", 3, 1)},
    "flat window, no codes": {"shape": (1, 1, 4, 70), "oc": 6, "kernel": (2, 2), "pool": ("max", 1, 2), "codes": False},
    "rows skipped": {"shape": (2, 2, 15, 18), "oc": 6, "kernel": (5, 3), "stride": (2, 1), "pads": (2, 2, 1, 0)},
    "bands": {"shape": (2, 3, 46, 130), "oc": 6, "kernel": (3, 3), "pads": SAME3, "pool": MAX2},
    "rows of taps in a loop": {"shape": (1, 2, 14, 20), "oc": 6, "kernel": (11, 11), "pads": (5, 5, 5, 5)},
    **{name: case for name, case in wide_pads.CASES.items() if case.get("stride", (1, 1))[1] == 1},
}  # fmt: skip


def spec_of(isa: str, dtype: str, **case: Any) -> Conv2dForward:
    spec: Conv2dForward = of_pixels(test_conv2d_fwd.make_spec(isa, dtype, **case, planar=True))
    return spec


def _emit(tile: PixelTile, spec: Conv2dForward, isa: Isa) -> Listing:
    return emit_kernel(spec, isa, tile)


def check_some(spec: Conv2dForward, isa: str) -> None:
    """The best tile, that of the fewest channels and most vectors, and the opposite."""
    tiles = [each.tile for each in candidates(spec, ISAS[isa])]
    by_channels = sorted(tiles, key=lambda tile: (tile.channels, -tile.vectors))
    for tile in dict.fromkeys((tiles[0], by_channels[0], by_channels[-1])):
        check_kernel(spec, isa, emit=partial(_emit, tile))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_every_tile(isa: str, dtype: str, name: str) -> None:
    check_some(spec_of(isa, dtype, **CASES[name]), isa)


@pytest.mark.parametrize(("width", "oc"), [*zip(WIDTHS, (1, 5, 6, 7, 17, 1), strict=True), (33, 6), (31, 17)])
@pytest.mark.parametrize("pool", [None, MAX2], ids=["no pool", "max 2x2"])
def test_every_end_of_a_row(isa: str, pool: tuple[str, int, int] | None, width: int, oc: int) -> None:
    pads = SAME3 if width > 1 else SAME5
    check_some(spec_of(isa, "float32", shape=(1, 1, 3, width), oc=oc, kernel=(3, 3), pads=pads, pool=pool), isa)


@pytest.mark.parametrize("codes", [False, True], ids=["no codes", "codes"])
@pytest.mark.parametrize("pool", [None, ("max", 2, 2), ("avg", 1, 2), ("max", 3, 1)], ids=str)
def test_registers_hold_every_tile(pool: tuple[str, int, int] | None, codes: bool) -> None:
    """Emission raises where they do not."""
    for isa in ISAS.values():
        for oc in (1, 6, 7, 17):
            spec = spec_of(isa.name, "float32", shape=(1, 1, 3, 70), oc=oc, kernel=(1, 1), pool=pool, codes=codes)
            for each in candidates(spec, isa):
                emit_kernel(spec, isa, each.tile)


def test_what_it_does_not_do_is_no_candidate() -> None:
    case: dict[str, Any] = {"shape": (1, 1, 12, 12), "oc": 3, "kernel": (3, 3)}
    level = ISAS["avx512"]
    assert candidates(spec_of("avx512", "float32", **case), level)
    assert not candidates(test_conv2d_fwd.make_spec("avx512", "float32", **case, planar=True), level)
    assert not candidates(spec_of("avx512", "float32", **case, stride=(1, 2)), level)
    assert not candidates(spec_of("avx512", "float32", **case, pool=("max", 1, 3)), level)


def test_the_last_tile_of_a_block_writes_the_pad_lanes() -> None:
    def runs(*numbers: int) -> list[tuple[int, int, int]]:
        return [(run.count, run.channels, run.pad_lanes) for run in channel_runs(*numbers)]

    assert runs(16, 16, 8) == [(2, 8, 0)]
    assert runs(6, 16, 6) == [(1, 6, 10)]
    assert runs(6, 16, 4) == [(1, 4, 0), (1, 2, 10)]
    assert runs(12, 16, 4) == [(2, 4, 0), (1, 4, 4)]


def test_few_channels_take_pixels_in_lanes_and_many_do_not() -> None:
    few = spec_of("avx512", "float32", **CASES["lenet"])
    many = spec_of("avx512", "float32", **{**CASES["lenet"], "oc": 32})
    assert isinstance(conv2d_fwd.choose_tile(few, ISAS["avx512"]), PixelTile)
    assert not isinstance(conv2d_fwd.choose_tile(many, ISAS["avx512"]), PixelTile)
