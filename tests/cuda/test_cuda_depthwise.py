"""Depthwise convolutions: around the vector, odd images, strides, padding beyond the taps, one pixel, many taps."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo
from asmgen.plan.specs import KernelSpec
from tests.kernels.test_depthwise import SHAPES, depthwise_specs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_depthwise(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    specs: list[KernelSpec] = []
    for c in (1, lanes, 2 * lanes + 3):
        specs += depthwise_specs(lanes, dtype, c, SHAPES[0], Halo(1, 2, 3, 1), bias=bool(c % 2))
    for shape in SHAPES[1:]:
        specs += depthwise_specs(lanes, dtype, lanes + 1, shape, NO_HALO, bias=True)
    check_cuda_kernels(specs)
