"""Where the trainer is told that the elements of its tensors lie."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from asmgen.emit.trainer_facts import dims_of, merged
from asmgen.emit.trainer_model import PackedDim
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, Shape(3, 0, 0, 40, image=(5, 3, 3))], ids=str)
def test_dense_weights_lie_where_they_are_packed(shape: Shape, isa: str, dtype: str) -> None:
    """By input and by output, behind images, too."""
    by_input = shape.layouts(isa, dtype)[1]
    for weights in (by_input, by_input.by_output()):
        features = weights.inputs.features
        w = np.arange(1.0, 1 + shape.out * features).reshape(shape.out, features)
        flat = weights.pack(w, np.zeros(shape.out))
        assert np.array_equal(flat[places(dims_of(weights))], w.reshape(-1))
