"""The mean over all pixels of a channel and its gradient: around the vector, around the accumulators, with halos."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import GlobalAvgPoolBackward, GlobalAvgPoolForward

SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not


def _check(isa: str, image: Image) -> None:
    rows = Rows(image.n, image.c, image.block, image.dtype)
    check_kernel(GlobalAvgPoolForward(image, rows), isa)
    check_kernel(GlobalAvgPoolBackward(rows, image), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels(isa: str, dtype: str) -> None:
    """Rows are padded to four elements, which is two vectors of two lanes."""
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        for halo in (NO_HALO, SIDES, ENDS):
            _check(isa, Image(3, c, 3, 5, lanes, dtype, halo))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sides(isa: str, dtype: str) -> None:
    """Runs shorter than the accumulators, as long, longer; one pixel; powers of two, where integers are exact."""
    lanes = ISAS[isa].lanes(dtype)
    for h, w in ((1, 1), (1, 2), (7, 7), (8, 8), (2, 9), (3, 17), (16, 1)):
        for halo in (NO_HALO, SIDES):
            _check(isa, Image(2, lanes + 1, h, w, lanes, dtype, halo))


def test_a_flattened_image_of_one_pixel(isa: str) -> None:
    lanes = ISAS[isa].lanes("float64")
    image = Image(2, lanes + 1, 3, 4, lanes, "float64")
    rows = Rows(2, lanes + 1, lanes, "float64", Image(2, lanes + 1, 1, 1, lanes, "float64"))
    check_kernel(GlobalAvgPoolForward(image, rows), isa)
    check_kernel(GlobalAvgPoolBackward(rows, image), isa)
    assert GlobalAvgPoolForward(image, rows).stem() != GlobalAvgPoolForward(image, replace(rows, source=None)).stem()


def test_rows_that_do_not_fit_are_refused() -> None:
    image, isa = Image(2, 4, 3, 3, 4, "float32"), ISAS["sse41"]
    flat = Rows(2, 4, 4, "float32", Image(2, 1, 2, 2, 4, "float32"))
    for rows in (Rows(2, 5, 4, "float32"), flat):
        with pytest.raises(ValueError, match="one feature a channel"):
            emit_kernel(GlobalAvgPoolForward(image, rows), isa)
    with pytest.raises(ValueError, match="n differs: 2, 3"):
        emit_kernel(GlobalAvgPoolBackward(Rows(3, 4, 4, "float32"), image), isa)
