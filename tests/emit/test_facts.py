"""Where the trainer is told that the elements of its tensors lie."""

from __future__ import annotations

from itertools import product

import pytest

from asmgen.emit.facts import merged
from asmgen.emit.trainer_model import PackedDim

Dims = tuple[PackedDim, ...]

TAPS = (PackedDim(3, 1, 48, 0), PackedDim(3, 1, 16, 0))
BY_OUTPUT = (PackedDim(20, 16, 576, 1), PackedDim(4, 1, 144, 0), *TAPS)
BY_INPUT = (PackedDim(5, 1, 144, 0), PackedDim(20, 16, 720, 1), *TAPS)
PADDED_ROWS = (PackedDim(3, 1, 16, 0), PackedDim(10, 1, 1, 0))
WHOLE_ROWS = (PackedDim(3, 1, 16, 0), PackedDim(16, 1, 1, 0))
ONE_BY_ONE = (PackedDim(5, 1, 16, 0), PackedDim(20, 16, 80, 1), PackedDim(1, 1, 16, 0), PackedDim(1, 1, 16, 0))
ONE_ELEMENT = (PackedDim(1, 1, 1, 0),)


def places(dims: Dims) -> list[int]:
    """Of the elements in canonical order."""
    axes = [
        [i // dim.block * dim.outer_stride + i % dim.block * dim.inner_stride for i in range(dim.extent)]
        for dim in dims
    ]
    return [sum(parts) for parts in product(*axes)]


@pytest.mark.parametrize(
    ("dims", "count"),
    [(BY_OUTPUT, 2), (BY_INPUT, 3), (PADDED_ROWS, 2), (WHOLE_ROWS, 1), (ONE_BY_ONE, 2), (ONE_ELEMENT, 1)],
    ids=["by output", "by input", "padded rows", "whole rows", "1x1", "one element"],
)
def test_merged_dims_visit_the_same_places(dims: Dims, count: int) -> None:
    assert places(merged(dims)) == places(dims)
    assert len(merged(dims)) == count
