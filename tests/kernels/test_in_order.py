"""Copies of an image in the order of a vector, and back: channels around squares and vectors, runs of all lengths."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import InOrderBackward, InOrderForward

SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not
DTYPES = ("float32", "float64")


def _check(isa: str, image: Image) -> None:
    rows = Rows(image.n, image.c * image.h * image.w, image.block, image.dtype)
    check_kernel(InOrderForward(image, rows), isa)
    check_kernel(InOrderBackward(rows, image), isa)


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in sorted({1, 2, 3, 5, lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 37}):
        for halo in (NO_HALO, SIDES, ENDS):
            _check(isa, Image(3, c, 3, 5, lanes, dtype, halo))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sides(isa: str, dtype: str) -> None:
    """Runs shorter than a square, as long, longer; one pixel."""
    lanes = ISAS[isa].lanes(dtype)
    for h, w in ((1, 1), (1, 2), (2, 1), (2, 2), (7, 7), (5, 4), (3, 9), (11, 1), (1, 13)):
        for c in (1, lanes - 1, lanes + 1):
            for halo in (NO_HALO, SIDES):
                _check(isa, Image(2, c, h, w, lanes, dtype, halo))


def test_what_does_not_fit_is_refused() -> None:
    isa, image = ISAS["sse41"], Image(2, 3, 5, 5, 4, "float32")
    with pytest.raises(ValueError, match="rows does not have 75 features"):
        emit_kernel(InOrderForward(image, Rows(2, 80, 4, "float32")), isa)
    with pytest.raises(ValueError, match="rows is the view of an image"):
        emit_kernel(InOrderBackward(Rows(2, 75, 4, "float32", image), image), isa)
    with pytest.raises(ValueError, match="must have its channels in lanes"):
        emit_kernel(InOrderForward(Image(2, 3, 5, 5, 1, "float32"), Rows(2, 75, 4, "float32")), isa)
