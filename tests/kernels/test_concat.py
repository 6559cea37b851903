"""Inputs of a concatenation along channels and their gradients, at every place in a vector; a whole concatenation."""

from __future__ import annotations

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.cases.case import unwritten
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import ConcatBackward, ConcatForward

SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not
DTYPES = ("float32", "float64")


def _ranges(lanes: int) -> list[tuple[int, int, int]]:
    """(c0, channels, channels behind): aligned and not, within a vector, over several, last and not."""
    starts = sorted({0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3})
    counts = sorted({1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3})
    pairs = [(c0, c) for c0 in starts for c in counts]
    return [(c0, c, (0, 1, lanes, 0)[number % 4]) for number, (c0, c) in enumerate(pairs)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranges_of_images(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    halos = [(NO_HALO, NO_HALO), (SIDES, NO_HALO), (NO_HALO, SIDES), (ENDS, ENDS)]
    for number, (c0, c, behind) in enumerate(_ranges(lanes)):
        part_halo, whole_halo = halos[number % len(halos)]
        part = Image(2, c, 3, 3, lanes, dtype, part_halo)
        whole = Image(2, c0 + c + behind, 3, 3, lanes, dtype, whole_halo)
        check_kernel(ConcatForward(part, whole, c0), isa)
        check_kernel(ConcatBackward(whole, part, c0), isa)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranges_of_rows(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c0, c, behind in [*_ranges(lanes), (5, 200, 0), (64, 77, 3)]:
        part, whole = Rows(3, c, lanes, dtype), Rows(3, c0 + c + behind, lanes, dtype)
        check_kernel(ConcatForward(part, whole, c0), isa)
        check_kernel(ConcatBackward(whole, part, c0), isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_all_inputs_of_a_concatenation(isa: str, dtype: str, is_reversed: bool) -> None:
    """In any order, they fill memory in which nothing stood, without a trace of it."""
    lanes = ISAS[isa].lanes(dtype)
    counts = (3, lanes, 1, 2 * lanes + 1, lanes - 1)
    y = Image(2, sum(counts), 3, 5, lanes, dtype, SIDES)
    values = np.random.default_rng(0).normal(size=(y.n, y.c, y.h, y.w)).astype(dtype)
    memory = GuardedBuffer(unwritten(y))
    starts = np.cumsum((0, *counts[:-1]))
    inputs = [(int(c0), c) for c0, c in zip(starts, counts, strict=True)]
    for c0, c in reversed(inputs) if is_reversed else inputs:
        x = Image(2, c, 3, 5, lanes, dtype)
        kernel = load_kernel(emit_kernel(ConcatForward(x, y, c0), ISAS[isa]))
        source = GuardedBuffer(x.pack(values[:, c0 : c0 + c]))
        assert not call(kernel, [source.address, memory.address], 0, y.n, isa)
    assert np.array_equal(memory.read(dtype), y.pack(values))


def test_parts_that_do_not_fit_are_refused() -> None:
    isa, x, y = ISAS["sse41"], Image(2, 3, 5, 5, 4, "float32"), Image(2, 8, 5, 5, 4, "float32")
    with pytest.raises(ValueError, match=r"there are no channels 6\.\.8 of 8"):
        emit_kernel(ConcatForward(x, y, 6), isa)
    with pytest.raises(ValueError, match="differ in more than channels and halo"):
        emit_kernel(ConcatBackward(Image(2, 8, 5, 6, 4, "float32"), x, 0), isa)
    flat = Rows(2, 75, 4, "float32", x)
    for whole in (Rows(2, 80, 4, "float32"), flat):
        with pytest.raises(ValueError, match="is the view of an image"):
            emit_kernel(ConcatForward(flat, whole, 0), isa)
