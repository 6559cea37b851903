"""Dropout: around the four pixels of a drawing, with halos, of features."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import Dropout, KernelSpec


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    specs: list[KernelSpec] = []
    for number, (c, h, w) in enumerate(((1, 3, 5), (lanes, 1, 1), (2 * lanes + 3, 2, 9))):
        image = Image(3, c, h, w, lanes, dtype, Halo(1, 2, 3, 1))
        specs += [Dropout(replace(image, halo=NO_HALO), image, 0.25, number), Dropout(image, image, 0.5, 0)]
    specs += [Dropout(Rows(5, f, lanes, dtype), Rows(5, f, lanes, dtype), 0.3, 2) for f in (1, lanes, 2 * lanes + 3)]
    check_cuda_kernels(specs)
