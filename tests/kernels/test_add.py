"""Sums of two tensors: images with and without halos, rows, flattened images; in place of either term."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import Add

SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        plain, sides, ends = (Image(3, c, 3, 5, lanes, dtype, halo) for halo in (NO_HALO, SIDES, ENDS))
        check_kernel(Add(plain, plain, plain), isa)
        check_kernel(Add(sides, plain, sides), isa)
        check_kernel(Add(plain, ends, sides), isa)
        check_kernel(Add(sides, ends, ends), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for features in (1, 5, 16, 83):
        check_kernel(Add(*[Rows(3, features, lanes, dtype)] * 3), isa)
    source = Image(2, lanes + 3, 2, 3, lanes, dtype)
    flat = Rows(2, source.c * 6, lanes, dtype, source)
    check_kernel(Add(flat, flat, flat), isa)


def test_terms_of_different_shapes_are_refused() -> None:
    a, b = Image(2, 4, 3, 3, 4, "float32"), Image(2, 5, 3, 3, 4, "float32")
    for terms in ((a, b, a), (a, a, b), (a, Rows(2, 36, 4, "float32"), a)):
        with pytest.raises(ValueError, match="a, b, y are not of one shape"):
            emit_kernel(Add(*terms), ISAS["sse41"])
