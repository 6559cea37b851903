"""Weight gradients in parts: every kernel for parts of one and of several samples, and what adds the parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.emit.planning import plan_for
from asmgen.harness.check import check_kernel
from asmgen.model.load import load_model
from asmgen.plan import specs
from asmgen.tile.conv.sample_parts import sample_parts
from tests.kernels.pooled_shapes import make_spec
from tests.kernels.support import V
from tests.kernels.test_conv2d_dw import make_spec as dense_spec
from tests.kernels.test_pixels import of_pixels

SHAPE: dict[str, Any] = {"shape": (6, 3, 8, 6), "oc": 2 * V + 3, "kernel": (3, 3), "pads": (1, 1, 1, 1)}
POOLED = specs.Conv2dBackwardWeightsPooled, specs.Conv2dBackwardWeightsSparse


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_parts", "bias"), [(2, True), (3, False), (6, True)])
def test_gradients_in_parts(isa: str, dtype: str, n_parts: int, bias: bool) -> None:
    """Of three blocks of outputs, so that slices begin and end within parts."""
    kernels = [make_spec(op, isa, dtype, bias=bias, **SHAPE) for op in POOLED]
    for spec in (*kernels, dense_spec(isa, dtype, bias=bias, **SHAPE)):
        check_kernel(replace(spec, sample_parts=n_parts), isa)


@pytest.mark.parametrize("n_parts", [2, 6])
def test_parts_of_a_layer_that_reads_pixels(isa: str, n_parts: int) -> None:
    pooled = make_spec(specs.Conv2dBackwardWeightsPooled, isa, "float32", **SHAPE)
    for spec in (pooled, dense_spec(isa, "float32", planar=True, **SHAPE)):
        check_kernel(of_pixels(replace(spec, sample_parts=n_parts)), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_parts", "oc"), [(2, 1), (3, V + 1), (8, 2 * V)])
def test_adding_them(isa: str, dtype: str, n_parts: int, oc: int) -> None:
    weights = dense_spec(isa, dtype, shape=(1, 2, 5, 5), oc=oc, kernel=(3, 3)).conv.weights
    for layout in (weights, weights.by_input()):
        for bias in (True, False):
            check_kernel(specs.SumParts.of(layout, n_parts, bias=bias), isa)


def test_parts_must_be_equal(isa: str) -> None:
    for spec in (make_spec(op, isa, "float32", **SHAPE) for op in POOLED):
        with pytest.raises(ValueError, match="parts must be equal"):
            replace(spec, sample_parts=4).check()


def test_small_gradients_have_slices_for_several_threads() -> None:
    """Where a layer has few blocks of outputs and the parts cost little; a divisor of the batch."""
    isa = ISAS["avx512"]
    for name in ("catdog", "lenet", "vgg_small"):
        for spec in plan_for(load_model(f"models/{name}.py"), isa).specs():
            if isinstance(spec, (*POOLED, specs.Conv2dBackwardWeights)):
                assert spec.slice_units() >= 4, spec.stem()
                assert spec.conv.x.n % spec.sample_parts == 0
                assert spec.sample_parts == sample_parts(spec.conv, isa)


def test_large_gradients_of_few_samples_stay_whole() -> None:
    """Adding parts would cost more than the products."""
    conv = dense_spec("avx512", "float32", shape=(2, 64, 3, 3), oc=16, kernel=(3, 3)).conv
    assert sample_parts(conv, ISAS["avx512"]) == 1
