"""Activations over images with and without halos, and over rows; in place where the layouts allow it."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.plan.layout import NO_HALO, Activations, Halo, Image, Rows
from asmgen.plan.specs import ActBackward, ActForward, Activation

ACTIVATIONS = [
    Activation("relu"),
    Activation("leaky_relu", 0.01),
    Activation("leaky_relu", 1.5),
    Activation("relu6"),
    Activation("elu", 1.0),
    Activation("elu", 2.5),
    Activation("hard_swish"),
    Activation("scale", 1 / 9),
    Activation("scale", -2.5),
    Activation("sigmoid"),
    Activation("tanh"),
    Activation("gelu"),
    Activation("silu"),
]
SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not


def _check(isa: str, act_: Activation, x: Activations, y: Activations, dx: Activations) -> None:
    check_kernel(ActForward(x, y, act_), isa)
    check_kernel(ActBackward(x, y, dx, act_), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("act_", ACTIVATIONS, ids=str)
def test_images(isa: str, dtype: str, act_: Activation) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes, 2 * lanes + 1):
        plain, sides, ends = (Image(2, c, 3, 5, lanes, dtype, halo) for halo in (NO_HALO, SIDES, ENDS))
        _check(isa, act_, plain, plain, plain)
        _check(isa, act_, plain, sides, plain)
        _check(isa, act_, sides, ends, ends)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("act_", ACTIVATIONS, ids=str)
def test_rows(isa: str, dtype: str, act_: Activation) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for features in (1, 5, 16, 83):
        rows = Rows(2, features, lanes, dtype)
        _check(isa, act_, rows, rows, rows)
    source = Image(2, lanes + 3, 2, 3, lanes, dtype)
    flat = Rows(2, source.c * 6, lanes, dtype, source)
    _check(isa, act_, flat, flat, flat)
