"""The dense layer's parameter gradient: tile edges, with and without bias, several blocks of inputs."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels import dense_dw
from asmgen.plan.specs import DenseBackwardWeights
from asmgen.tile.dense import choose_weights_tile
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape


def make_spec(shape: Shape, isa: str, dtype: str, bias: bool = True) -> DenseBackwardWeights:
    x, w, y = shape.layouts(isa, dtype)
    return DenseBackwardWeights(x, y, w, bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape, isa: str, dtype: str) -> None:
    check_kernel(make_spec(shape, isa, dtype, bias=shape.out != 9), isa, emit=dense_dw.emit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_inputs(isa: str, dtype: str) -> None:
    """Full blocks, then tiles that do not fill one, then a narrower tile."""
    shape = Shape(40, 2500 // ISAS[isa].vector_bytes, 1, 9)
    spec = make_spec(shape, isa, dtype)
    tile = choose_weights_tile(spec, ISAS[isa])
    assert spec.x.n_vectors > tile.block_tiles * tile.vectors
    assert spec.x.n_vectors % tile.vectors
    check_kernel(spec, isa, emit=dense_dw.emit)
