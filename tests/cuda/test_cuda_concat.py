"""Inputs of a concatenation along channels and their gradients: whole packs and single channels, halos, padding."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import ConcatBackward, ConcatForward, KernelSpec


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranges(dtype: str) -> None:
    """(c0, channels, channels behind): in the middle, at the end, aligned to 16 bytes, 8 bytes and not."""
    lanes, sides = CUDA.lanes(dtype), Halo(1, 2, 3, 1)
    specs: list[KernelSpec] = []
    for c0 in (0, 1, 2, lanes, 2 * lanes + 4):
        for c in (1, 2, lanes, 2 * lanes + 3):
            for behind in (0, 1, lanes):
                halo = (NO_HALO, sides)[c0 % 2]
                part = Image(2, c, 3, 2, lanes, dtype, halo)
                whole = Image(2, c0 + c + behind, 3, 2, lanes, dtype, (sides, NO_HALO)[c0 % 2])
                rows, whole_rows = Rows(2, c, lanes, dtype), Rows(2, c0 + c + behind, lanes, dtype)
                specs += [ConcatForward(part, whole, c0), ConcatBackward(whole, part, c0)]
                if behind < 2:
                    specs += [ConcatForward(rows, whole_rows, c0), ConcatBackward(whole_rows, rows, c0)]
    check_cuda_kernels(specs)
