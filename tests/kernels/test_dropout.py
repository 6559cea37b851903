"""Dropout: around the vector, around the four pixels of a drawing, with halos, of features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asmgen import Dropout as Layer
from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import Dropout

SIDES = Halo(1, 2, 3, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for number, c in enumerate((1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3)):
        image = Image(3, c, 3, 5, lanes, dtype, SIDES)
        check_kernel(Dropout(replace(image, halo=NO_HALO), image, 0.25, number), isa)
        check_kernel(Dropout(image, image, 0.5, 0), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sides(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for h, w in ((1, 1), (1, 4), (2, 3), (3, 9), (5, 8)):
        image = Image(2, lanes + 1, h, w, lanes, dtype)
        check_kernel(Dropout(image, image, 0.9, 1), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for features in (1, lanes, lanes + 1, 3 * lanes + 2):
        rows = Rows(5, features, lanes, dtype)
        check_kernel(Dropout(rows, rows, 0.3, 2), isa)


@pytest.mark.parametrize("p", [0.0, 2.0**-23, 0.999999])
def test_the_ends_of_the_range(isa: str, p: float) -> None:
    rows = Rows(3, 40, ISAS[isa].lanes("float32"), "float32")
    check_kernel(Dropout(rows, rows, p, 0), isa)


def test_masks_are_random() -> None:
    """As many values stay as should; layers, steps, samples and seeds have masks of their own."""
    layer = Layer(0.3)
    mask = layer.mask((64, 20, 9, 7), 1, 2)
    n = mask.size
    assert abs((mask > 0).mean() - 0.7) < 4 * np.sqrt(0.3 * 0.7 / n)
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}
    others = (
        layer.mask(mask.shape, 2, 2),
        layer.mask(mask.shape, 1, 3),
        replace(layer, number=1).mask(mask.shape, 1, 2),
        np.roll(mask, 1, 0),
        np.roll(mask, 1, 1),
        np.roll(mask, 1, 3),
    )
    for other in others:
        both = ((mask > 0) & (other > 0)).mean()
        assert abs(both - 0.49) < 0.01
