"""Dense kernels whose lanes are outputs: forward (of weights that lie so or that it turns), and the weight gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.dense import dense_dw, dense_fwd_by_output
from asmgen.plan.layout import DENSE_QUAD, round_up
from asmgen.plan.specs import Activation, DenseBackwardWeightsStep, DenseForwardByOutput, Update
from asmgen.tile.dense.dense_dw import choose_update_tile
from asmgen.tile.dense.dense_product import choose_by_output_tile
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape

RELU = Activation("relu")
WIDE = [Shape(7, 1, 1, 70), Shape(30, 0, 5, 33), Shape(2, 0, 3, 130), Shape(3, 0, 0, 40, image=(5, 3, 3))]
KINDS = ["sgd", "momentum", "nesterov", "adam", "adamw"]


def make_forward(shape: Shape, isa: str, dtype: str, bias: bool = True, act: Activation = RELU) -> DenseForwardByOutput:
    x, w, y = shape.layouts(isa, dtype)
    return DenseForwardByOutput(x, w.by_output(), y, bias, act)


def make_update(shape: Shape, isa: str, dtype: str, kind: str, bias: bool = True) -> DenseBackwardWeightsStep:
    x, inputs, y = shape.layouts(isa, dtype)
    w, lanes = inputs.by_output(), ISAS[isa].lanes(dtype)
    step = Update(kind, dtype, lanes, w.size_bytes // ISAS[isa].vector_bytes, 0.9, 0.9, 0.999, 1e-8, 0.01)
    distance = round_up(w.size_bytes, 64) + 192
    return DenseBackwardWeightsStep(x, y, w, bias, step, tuple(distance * (1 + at) for at in range(step.n_states)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + WIDE, ids=str)
def test_layout(shape: Shape, isa: str, dtype: str) -> None:
    """unpack(pack(w)) is w, and every element is where the formula says."""
    weights = shape.layouts(isa, dtype)[1].by_output()
    lanes, features = weights.block, weights.inputs.features
    w = np.arange(1.0, 1 + shape.out * features).reshape(shape.out, features)
    b = -np.arange(1.0, 1 + shape.out)
    flat = weights.pack(w, b)
    assert flat.nbytes == weights.size_bytes
    got_w, got_b = weights.unpack(flat)
    assert np.array_equal(got_w, w)
    assert np.array_equal(got_b, b)
    at = weights.bias_offset_bytes // weights.element_bytes
    blocked = flat[:at].reshape(-1, weights.n_rows, lanes)
    for o in range(weights.n_blocks * lanes):
        values = w[o : o + 1] if o < shape.out else np.zeros((1, features))
        row = weights.inputs.pack(np.repeat(values, weights.inputs.n, 0))[: weights.inputs.stride]
        assert np.array_equal(blocked[o // lanes, :, o % lanes], row[: weights.n_rows])
    assert np.array_equal(flat[at:], np.pad(b, (0, flat.size - at - shape.out)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + WIDE, ids=str)
def test_forward(shape: Shape, isa: str, dtype: str) -> None:
    act = (RELU, Activation(), Activation("leaky_relu", 0.01), Activation("leaky_relu", 1.5))[shape.out % 4]
    spec = make_forward(shape, isa, dtype, bias=shape.out % 3 != 0, act=act)
    check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_and_single_vectors(isa: str, dtype: str) -> None:
    """Every height of a tile, a batch that it does not divide, and vectors left over in some slices."""
    shape = Shape(9, 1, 2, 5 * ISAS[isa].lanes(dtype))
    spec = make_forward(shape, isa, dtype)
    for samples, vectors in ((1, 2), (4, 3), (6, 2), (2, 4)):
        tile = replace(choose_by_output_tile(spec, ISAS[isa]), samples=samples, vectors=vectors, single_samples=5)
        if samples * vectors + vectors + 1 <= ISAS[isa].n_vregs:
            check_kernel(spec, isa, emit=lambda spec, isa, tile=tile: dense_fwd_by_output.emit(spec, isa, tile))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", [(0, 1), (1, -1), (1, 1), (5, 3)])
def test_turned(inputs: tuple[int, int], isa: str, dtype: str) -> None:
    """Weights that lie by input: whole vectors of outputs, whatever the inputs; tiles, and vectors left over."""
    unit = max(ISAS[isa].lanes(dtype), DENSE_QUAD)
    for n, units in ((1, 1), (9, 5)):
        x, w, y = Shape(n, *inputs, units * unit).layouts(isa, dtype)
        spec = DenseForwardByOutput(x, w, y, n > 1, RELU)
        check_kernel(spec, isa)
        tile = replace(choose_by_output_tile(spec, ISAS[isa]), samples=2, vectors=2, single_samples=3)
        check_kernel(spec, isa, emit=lambda spec, isa, tile=tile: dense_fwd_by_output.emit(spec, isa, tile))


def test_what_cannot_be_turned() -> None:
    """Vectors of outputs with rows for some only, and more inputs than a frame takes."""
    for shape, message in ((Shape(2, 1, 0, 20), "has rows for some only"), (Shape(2, 200, 0, 16), "for the frame")):
        x, w, y = shape.layouts("avx512", "float32")
        with pytest.raises(ValueError, match=message):
            DenseForwardByOutput(x, w, y, True, RELU).check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + WIDE, ids=str)
def test_update(shape: Shape, isa: str, dtype: str) -> None:
    kind = KINDS[(shape.n + shape.out) % len(KINDS)]
    spec = make_update(shape, isa, dtype, kind, bias=shape.out != 9)
    if spec.weights.n_rows % DENSE_QUAD:  # an image's lanes are not padded to 4
        with pytest.raises(ValueError, match="whole quads"):
            spec.check()
    else:
        check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("vectors", "single_quads"), [(1, 2), (2, 1), (3, 3)])
def test_update_with_single_vectors(vectors: int, single_quads: int, isa: str, dtype: str) -> None:
    """Slices that leave single vectors, inputs that leave single quads."""
    spec = make_update(Shape(21, 4, 3, 5 * ISAS[isa].lanes(dtype)), isa, dtype, "adam")
    chosen = choose_update_tile(spec, ISAS[isa])
    tile = replace(chosen, vectors=vectors, single_quads=single_quads, packs_lanes=True)
    check_kernel(spec, isa, emit=lambda spec, isa, tile=tile: dense_dw.emit(spec, isa, tile))


@pytest.mark.parametrize("act", [RELU, Activation("leaky_relu", 0.1), Activation("leaky_relu", 2.0)], ids=str)
def test_nan_survives_the_activation(act: Activation, isa: str) -> None:
    """The runtime stops on a loss that is not finite, so max(0, NaN) must be NaN; other samples are untouched."""
    spec = make_forward(Shape(2, 2, 0, 4), isa, "float32", bias=False, act=act)
    x = np.ones((2, spec.x.features), np.float32)
    x[0, 3] = np.nan
    w = spec.weights.pack(np.ones((4, spec.x.features)), np.zeros(4))
    buffers = [GuardedBuffer(data) for data in (spec.x.pack(x), w, np.zeros(2 * spec.y.stride, np.float32))]
    fn = load_kernel(dense_fwd_by_output.emit(spec, ISAS[isa]))
    assert not call(fn, [buffer.address for buffer in buffers], 0, spec.slice_units(), isa)
    y = spec.y.unpack(buffers[2].read(np.float32))
    assert np.isnan(y[0]).all()
    assert np.array_equal(y[1], np.full(4, spec.x.features, np.float32))
