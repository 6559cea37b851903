"""Sums of two tensors: images with and without halos, rows, flattened images; in place of either term."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import Add, KernelSpec


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_and_rows(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    specs: list[KernelSpec] = []
    for c in (1, lanes, 2 * lanes + 3):
        plain, sides, ends = (
            Image(2, c, 3, 5, lanes, dtype, halo) for halo in (NO_HALO, Halo(1, 2, 3, 1), Halo(1, 1, 0, 0))
        )
        specs += [Add(plain, plain, plain), Add(sides, plain, sides), Add(plain, ends, sides), Add(sides, ends, ends)]
    specs += [Add(*[Rows(3, features, lanes, dtype)] * 3) for features in (1, 16, 83)]
    source = Image(2, lanes + 3, 2, 3, lanes, dtype)
    specs.append(Add(*[Rows(2, source.c * 6, lanes, dtype, source)] * 3))
    check_cuda_kernels(specs)
