"""The dense layer's gradient, with the optimizer's step or stored: tile edges, every optimizer, packed blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.dense import dense_dw
from asmgen.plan.layout import DENSE_QUAD, round_up
from asmgen.plan.specs import DenseBackwardWeights, DenseBackwardWeightsStep, Update
from asmgen.tile.dense.dense_dw import UpdateTile, choose_update_tile
from tests.kernels.dense_shapes import DTYPES, SHAPES, Shape

KINDS = ["sgd", "momentum", "nesterov", "adam", "adamw"]


def make_spec(
    shape: Shape, isa: str, dtype: str, kind: str = "sgd", weight_decay: float = 0.0, bias: bool = True
) -> DenseBackwardWeightsStep:
    x, w, y = shape.layouts(isa, dtype)
    lanes = ISAS[isa].lanes(dtype)
    step = Update(kind, dtype, lanes, w.size_bytes // ISAS[isa].vector_bytes, 0.9, 0.9, 0.999, 1e-8, weight_decay)
    distance = round_up(w.size_bytes, 64) + 192
    return DenseBackwardWeightsStep(x, y, w, bias, step, tuple(distance * (1 + at) for at in range(step.n_states)))


def choose(spec: DenseBackwardWeightsStep, isa: str) -> UpdateTile:
    tile = choose_update_tile(spec, ISAS[isa])
    assert isinstance(tile, UpdateTile)
    return tile


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape, isa: str, dtype: str) -> None:
    kind = KINDS[SHAPES.index(shape) % len(KINDS)]
    check_kernel(make_spec(shape, isa, dtype, kind, bias=shape.out != 9), isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stored(shape: Shape, isa: str, dtype: str) -> None:
    x, w, y = shape.layouts(isa, dtype)
    for weights in (w, w.by_output()):
        spec = DenseBackwardWeights(x, y, weights, shape.out != 9)
        if weights.n_rows % DENSE_QUAD:  # an image's lanes are not padded to 4
            with pytest.raises(ValueError, match="whole quads"):
                spec.check()
        else:
            check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stored_with_prefetching_and_copies(isa: str, dtype: str) -> None:
    x, w, y = Shape(21, 7, 0, 9).layouts(isa, dtype)
    spec = DenseBackwardWeights(x, y, w, True)
    tile = replace(choose_update_tile(spec, ISAS[isa]), prefetches=True, packs_lanes=True, spreads_factors=True)
    check_kernel(spec, isa, emit=lambda spec, isa: dense_dw.emit(spec, isa, tile))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("kind", KINDS)
def test_optimizers(kind: str, weight_decay: float, isa: str, dtype: str) -> None:
    for shape in (Shape(5, 7, 1, 6), Shape(64, 3, 0, 4)):
        check_kernel(make_spec(shape, isa, dtype, kind, weight_decay), isa)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_inputs(isa: str, dtype: str) -> None:
    """Full blocks, then tiles that do not fill one, then a narrower tile."""
    shape = Shape(40, 2500 // ISAS[isa].vector_bytes, 1, 9)
    spec = make_spec(shape, isa, dtype, "momentum")
    tile = choose(spec, isa)
    assert spec.x.n_vectors > tile.block_tiles * tile.vectors
    assert spec.x.n_vectors % tile.vectors
    check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 16, 21])
def test_prefetching_and_copies(n: int, isa: str, dtype: str) -> None:
    """What large layers get, whatever their rows: the sum in pieces with a remainder, narrow tiles at the end."""
    for vectors, spreads in ((1, True), (3, False), (50, True)):
        spec = make_spec(Shape(n, vectors, 0, 9), isa, dtype, "adam")
        tile = replace(choose(spec, isa), prefetches=True, packs_lanes=True, spreads_factors=spreads)
        check_kernel(spec, isa, emit=lambda spec, isa, tile=tile: dense_dw.emit(spec, isa, tile))


def test_inputs_that_many_outputs_share_are_packed(isa: str) -> None:
    """Fewer outputs suffice where rows collide, of 4 KB and 128 KB; not a batch that is too large for the frame."""
    lanes = ISAS[isa].lanes("float32")

    def packs(n: int, inputs: int, out: int) -> bool:
        return choose(make_spec(Shape(n, inputs // lanes, 0, out), isa, "float32"), isa).packs_lanes

    assert packs(16, 1024, 128)
    assert packs(16, 32768, 128)
    assert packs(64, 768, 256)
    assert packs(64, 784, 256)
    assert not packs(64, 784, 64)
    assert not packs(16, 32768, 10)
    assert not packs(4096, 1024, 128)
    assert not packs(64, lanes, 128)
