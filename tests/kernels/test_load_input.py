"""load_input: pixels of gathered images, scaled, in planes with a halo or in rows."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels import load_input
from asmgen.plan.layout import Halo, Image, Rows
from asmgen.plan.specs import LoadInput


def _spec(shape, dtype, *, rows=False, halo=None, per_channel=False, lanes=4, n=3):
    c, h, w = shape
    scale, shift = (1 / 255,) * c, (0.0,) * c
    if per_channel:
        scale, shift = tuple((i + 1) / 255 for i in range(c)), tuple(-0.5 * (i + 1) for i in range(c))
    dst = Rows(n, c * h * w, lanes, dtype) if rows else Image(n, c, h, w, 1, dtype, halo or Halo())
    return LoadInput(c, h, w, dst, scale, shift)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 64, 79, 97])
def test_rows_of_every_width(isa, dtype, width):
    """A row may be shorter than a vector, end inside one, or fill the unrolled loop."""
    halo = Halo(1, 2, width % 3, 1)
    check_kernel(_spec((2, 3, width), dtype, halo=halo, per_channel=width % 2 == 0), isa, emit=load_input.emit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 5), (3, 7, 9), (5, 1, 3)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_rows_and_images_without_a_halo(isa, dtype, shape, per_channel):
    """Runs join across image rows, and across channels that share scale and shift."""
    lanes = ISAS[isa].lanes(dtype)
    check_kernel(_spec(shape, dtype, rows=True, per_channel=per_channel, lanes=lanes), isa, emit=load_input.emit)
    check_kernel(_spec(shape, dtype, per_channel=per_channel, n=1), isa, emit=load_input.emit)
    check_kernel(_spec(shape, dtype, halo=Halo(1, 1, 0, 0), per_channel=per_channel), isa, emit=load_input.emit)


def test_shapes_of_the_models(isa):
    check_kernel(_spec((3, 128, 128), "float32", halo=Halo(1, 1, 1, 1), n=2), isa, emit=load_input.emit)
    check_kernel(_spec((1, 28, 28), "float32", rows=True, lanes=ISAS[isa].lanes("float32")), isa, emit=load_input.emit)
