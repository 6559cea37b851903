"""Pools with any window and stride: touching, overlapping, with gaps, with rows and columns that no window covers."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.pool import pool as pool_kernels
from asmgen.plan.layout import Halo, Image
from asmgen.plan.specs import Pool, PoolBackward, PoolForward

WINDOWS = [
    (2, 2, 2, 2),
    (3, 3, 2, 2),
    (1, 1, 1, 1),
    (2, 3, 3, 1),
    (2, 2, 3, 3),
    (16, 16, 1, 2),
    (5, 1, 2, 2),
    (3, 3, 1, 1),
]
#: (c - blocks * V, blocks, h, w, halos of x or dx, y or dy)
SHAPES = [(0, 1, 17, 19, Halo(), Halo()), (1, 1, 16, 23, Halo(1, 0, 2, 1), Halo(1, 1, 1, 1))]


def _images(isa: str, dtype: str, window: tuple[int, int, int, int]) -> list[tuple[Image, Image]]:
    lanes = ISAS[isa].lanes(dtype)
    ph, pw, sh, sw = window
    pairs = []
    for rest, blocks, h, w, wide_halo, small_halo in SHAPES:
        c = blocks * lanes + rest
        small = Image(2, c, (h - ph) // sh + 1, (w - pw) // sw + 1, lanes, dtype, small_halo)
        pairs.append((Image(2, c, h, w, lanes, dtype, wide_halo), small))
    return pairs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool_forward(isa: str, dtype: str, kind: str, window: tuple[int, int, int, int]) -> None:
    for x, y in _images(isa, dtype, window):
        check_kernel(PoolForward(x, y, Pool(kind, *window)), isa, emit=pool_kernels.emit_forward)
        if kind == "max":
            check_kernel(PoolForward(x, y, Pool(kind, *window), codes=False), isa, emit=pool_kernels.emit_forward)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool_backward(isa: str, dtype: str, kind: str, window: tuple[int, int, int, int]) -> None:
    for dx, dy in _images(isa, dtype, window):
        check_kernel(PoolBackward(dy, dx, Pool(kind, *window)), isa, emit=pool_kernels.emit_backward)
