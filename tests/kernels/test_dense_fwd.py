"""The dense layer's forward kernel: tile edges, bias, activations, inputs too long for one block."""

from __future__ import annotations

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.dense import dense_fwd
from asmgen.plan.specs import Activation, DenseForward
from asmgen.tile.dense.dense_product import choose_forward_tile
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape

RELU = Activation("relu")


def make_spec(shape: Shape, isa: str, dtype: str, bias: bool = True, act: Activation = RELU) -> DenseForward:
    x, w, y = shape.layouts(isa, dtype)
    return DenseForward(x, w, y, bias, act)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape, isa: str, dtype: str) -> None:
    check_kernel(make_spec(shape, isa, dtype), isa, emit=dense_fwd.emit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [None, 0.01, 1.5, -0.5])
def test_activations(alpha: float | None, isa: str, dtype: str) -> None:
    act = Activation() if alpha is None else Activation("leaky_relu", alpha)
    check_kernel(make_spec(Shape(3, 2, 1, 6), isa, dtype, bias=alpha != 1.5, act=act), isa, emit=dense_fwd.emit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("bias", "act"), [(True, Activation("leaky_relu", 0.125)), (False, Activation()), (False, RELU)], ids=str
)
def test_blocks_of_inputs(bias: bool, act: Activation, isa: str, dtype: str) -> None:
    """Rows of three blocks, the last one shorter; partial sums wait in y."""
    n_vectors = 9000 // ISAS[isa].vector_bytes // 6 * 6 + 4  # three blocks of an even number do not make that
    shape = Shape(7, n_vectors, -1, 6)
    spec = make_spec(shape, isa, dtype, bias, act)
    tile = choose_forward_tile(spec, ISAS[isa])
    assert tile.block_vectors < spec.x.n_vectors
    assert spec.x.n_vectors % tile.block_vectors
    check_kernel(spec, isa, emit=dense_fwd.emit)


@pytest.mark.parametrize("act", [RELU, Activation("leaky_relu", 0.1), Activation("leaky_relu", 2.0)], ids=str)
def test_nan_survives_the_activation(act: Activation, isa: str) -> None:
    """The runtime stops on a loss that is not finite, so max(0, NaN) must be NaN; other samples are untouched."""
    spec = make_spec(Shape(2, 2, 0, 4), isa, "float32", bias=False, act=act)
    x = np.ones((2, spec.x.features), np.float32)
    x[0, 3] = np.nan
    w = spec.weights.pack(np.ones((4, spec.x.features)), np.zeros(4))
    buffers = [GuardedBuffer(data) for data in (spec.x.pack(x), w, np.zeros(2 * spec.y.stride, np.float32))]
    fn = load_kernel(dense_fwd.emit(spec, ISAS[isa]))
    assert not call(fn, [buffer.address for buffer in buffers], 0, spec.slice_units(), isa)
    y = spec.y.unpack(buffers[2].read(np.float32))
    assert np.isnan(y[0]).all()
    assert np.array_equal(y[1], np.full(4, spec.x.features, np.float32))
