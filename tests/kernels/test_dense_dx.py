"""The dense layer's input gradient: tile edges, slices that no tile divides, weights from beyond L2."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.dense import dense_dx
from asmgen.plan.specs import DenseBackwardInput
from asmgen.tile.dense.dense_product import choose_input_tile
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape


def make_spec(shape: Shape, isa: str, dtype: str) -> DenseBackwardInput:
    x, w, y = shape.layouts(isa, dtype)
    return DenseBackwardInput(y, w, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape, isa: str, dtype: str) -> None:
    check_kernel(make_spec(shape, isa, dtype), isa, emit=dense_dx.emit)


def test_prefetch_stays_harmless(isa: str) -> None:
    """Weights of more than L2: prefetches run past the last row, loads must not."""
    spec = make_spec(Shape(2, 3000 // ISAS[isa].lanes("float32"), 0, 200), isa, "float32")
    assert choose_input_tile(spec, ISAS[isa]).prefetches
    check_kernel(spec, isa, emit=dense_dx.emit)
