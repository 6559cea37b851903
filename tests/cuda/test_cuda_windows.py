"""Pools with any window and stride, gradients behind pooled convolutions, and the transposition of weights."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.specs import (
    Activation,
    Conv2dPackBackwardInput,
    Conv2dUnpool,
    KernelSpec,
    Pool,
    PoolBackward,
    PoolForward,
)

DTYPES = ["float32", "float64"]
WINDOWS = [(2, 2, 2, 2), (3, 3, 2, 2), (1, 1, 1, 1), (2, 3, 3, 1), (2, 2, 3, 3), (16, 16, 1, 2), (5, 1, 2, 2)]
ACTIVATIONS = [Activation(), Activation("relu"), Activation("leaky_relu", 0.1)]
POOLS = [
    None,
    Pool("max", 2, 2, 2, 2),
    Pool("max", 3, 2, 3, 2),
    Pool("max", 11, 11, 11, 11),
    Pool("max", 1, 1, 1, 1),
    Pool("avg", 2, 2, 2, 2),
    Pool("avg", 1, 3, 1, 3),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_pools(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    kernels: list[KernelSpec] = []
    for number, window in enumerate(WINDOWS):
        ph, pw, sh, sw = window
        c, h, w = (lanes, 17, 19) if number % 2 else (lanes + 1, 16, 23)
        wide_halo, small_halo = (Halo(), Halo()) if number % 3 else (Halo(1, 0, 2, 1), Halo(1, 1, 1, 1))
        x = Image(2, c, h, w, lanes, dtype, wide_halo)
        y = Image(2, c, (h - ph) // sh + 1, (w - pw) // sw + 1, lanes, dtype, small_halo)
        for kind in ("max", "avg"):
            kernels += [PoolForward(x, y, Pool(kind, *window)), PoolBackward(y, x, Pool(kind, *window))]
    check_cuda_kernels(kernels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unpool(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    shapes = [
        (1, 1, 1, Halo(), Halo(), Halo()),
        (2 * lanes + 3, 3, 7, Halo(), Halo(1, 1, 1, 1), Halo(1, 2, 3, 0)),
        (lanes, 2, 9, Halo(0, 1, 2, 0), Halo(), Halo(1, 1, 1, 1)),
    ]
    kernels = []
    for number, (pool, act) in enumerate((pool, act) for pool in POOLS for act in ACTIVATIONS):
        c, h, w, dy_halo, y_halo, dz_halo = shapes[number % len(shapes)]
        ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
        dy, y = (Image(3, c, h, w, lanes, dtype, halo) for halo in (dy_halo, y_halo))
        kernels.append(Conv2dUnpool(dy, y, Image(3, c, h * ph, w * pw, lanes, dtype, dz_halo), act, pool))
    check_cuda_kernels(kernels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposition_of_weights(dtype: str) -> None:
    """Whole and ragged blocks of both kinds of channels; taps that shared memory does not hold at once."""
    lanes = CUDA.lanes(dtype)
    shapes = [
        (1, 1, 1, 1),
        (lanes, lanes, 3, 3),
        (35, 5, 5, 2),
        (3, 33, 1, 1),
        (lanes + 1, 2 * lanes - 1, 3, 3),
        (2, 3, 11, 13),
        (2, 3, 33, 14),
    ]
    check_cuda_kernels([Conv2dPackBackwardInput(ConvWeights(*shape, lanes, dtype)) for shape in shapes])
