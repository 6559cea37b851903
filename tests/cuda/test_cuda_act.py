"""Activations over images with and without halos, and over rows; in place where the layouts allow it."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import ActBackward, ActForward, Activation, KernelSpec

ACTIVATIONS = [Activation("relu"), Activation("leaky_relu", 0.01), Activation("sigmoid"), Activation("tanh")]
MORE = [Activation("relu6"), Activation("elu", 1.0), Activation("elu", 2.5), Activation("scale", -1 / 9)]
FROM_X = [Activation("gelu"), Activation("silu"), Activation("hard_swish")]
SIDES, ENDS = Halo(1, 2, 3, 1), Halo(1, 1, 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_and_rows(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    surfaces = []
    for c in (1, lanes, 2 * lanes + 1):
        plain, sides, ends = (Image(2, c, 3, 5, lanes, dtype, halo) for halo in (NO_HALO, SIDES, ENDS))
        surfaces += [(plain, plain, plain), (plain, sides, plain), (sides, ends, ends)]
    for features in (1, 16, 83):
        surfaces.append((Rows(2, features, lanes, dtype),) * 3)
    source = Image(2, lanes + 3, 2, 3, lanes, dtype)
    surfaces.append((Rows(2, source.c * 6, lanes, dtype, source),) * 3)
    specs: list[KernelSpec] = []
    for number, (x, y, dx) in enumerate(surfaces):
        for act in (ACTIVATIONS[number % 2], ACTIVATIONS[2 + number % 2], Activation("sigmoid"), MORE[number % 4]):
            specs += [ActForward(x, y, act), ActBackward(x, y, dx, act)]
        for act in FROM_X:
            specs += [ActForward(x, y, act), ActBackward(y, x, dx, act)]
    check_cuda_kernels(list(dict.fromkeys(specs)))
