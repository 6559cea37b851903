"""The mean over all pixels of a channel and its gradient: around what a warp reads at once, halos, many planes."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import GlobalAvgPoolBackward, GlobalAvgPoolForward, KernelSpec


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_global_average(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    images = [Image(2, c, 3, 5, lanes, dtype, Halo(1, 2, 3, 1)) for c in (1, lanes, 2 * lanes + 3)]
    images += [Image(2, lanes + 1, h, w, lanes, dtype) for h, w in ((1, 1), (1, 8), (3, 3), (4, 8), (7, 7))]
    images += [Image(n, 1, 1, 3, lanes, dtype, NO_HALO) for n in (1028, 1030)]
    specs: list[KernelSpec] = []
    for image in images:
        rows = Rows(image.n, image.c, lanes, dtype)
        specs += [GlobalAvgPoolForward(image, rows), GlobalAvgPoolBackward(rows, image)]
    check_cuda_kernels(specs)
