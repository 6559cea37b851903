"""Copies of an image in the order of a vector, and back: channels around 16 bytes and blocks, one pixel, halos."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import InOrderBackward, InOrderForward, KernelSpec


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies(dtype: str) -> None:
    lanes, sides = CUDA.lanes(dtype), Halo(1, 2, 3, 1)
    specs: list[KernelSpec] = []
    for c in (1, 3, lanes - 1, lanes, lanes + 1, 37):
        for h, w in ((1, 1), (3, 5), (7, 2)):
            for halo in (NO_HALO, sides):
                image, rows = Image(2, c, h, w, lanes, dtype, halo), Rows(2, c * h * w, lanes, dtype)
                specs += [InOrderForward(image, rows), InOrderBackward(rows, image)]
    check_cuda_kernels(specs)
