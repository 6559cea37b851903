"""Batch normalisation: around the vector, around the sums in flight, with halos, of features, of half a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import NO_HALO, Activations, ChannelVectors, Halo, Image, Rows, RunningVectors
from asmgen.plan.specs import (
    Activation,
    BatchNormBackwardInput,
    BatchNormBackwardWeights,
    BatchNormForward,
    BatchNormFrozen,
    BatchNormGradientParts,
    BatchNormMoments,
    BatchNormParts,
    BatchNormRunning,
)

SIDES = Halo(1, 2, 3, 1)
ENDS = Halo(1, 1, 0, 0)  # whole rows are contiguous, planes are not
GATES = (Activation(), Activation("relu"), Activation("leaky_relu", 0.25))
PARAMETERS = ((True, True), (True, False), (False, True), (False, False))


def _plain(x: Activations) -> Activations:
    return replace(x, halo=NO_HALO) if isinstance(x, Image) else x


def _check(isa: str, x: Activations, act: Activation = GATES[1]) -> None:
    """Every kernel of one shape; gradients have no halo."""
    plain = _plain(x)
    for spec in (
        BatchNormParts(x),
        BatchNormForward(plain, x, act),
        BatchNormForward(x, x, act),
        BatchNormForward(plain, x, act, plain),
        BatchNormForward(x, plain, act, x),
        BatchNormGradientParts(x, plain, act),
        BatchNormBackwardInput(x, plain, plain, act),
        BatchNormBackwardInput(plain, plain, x, act),
    ):
        check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        for halo in (NO_HALO, SIDES, ENDS):
            _check(isa, Image(3, c, 3, 5, lanes, dtype, halo))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sides(isa: str, dtype: str) -> None:
    """Runs shorter than the sums in flight, as long, longer; one pixel."""
    lanes = ISAS[isa].lanes(dtype)
    for h, w in ((1, 1), (1, 2), (7, 7), (8, 8), (2, 9), (3, 17), (16, 1)):
        for halo in (NO_HALO, SIDES):
            _check(isa, Image(2, lanes + 1, h, w, lanes, dtype, halo))


@pytest.mark.parametrize("act", GATES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gates(isa: str, dtype: str, act: Activation) -> None:
    lanes = ISAS[isa].lanes(dtype)
    _check(isa, Image(3, lanes + 1, 5, 5, lanes, dtype), act)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features(isa: str, dtype: str) -> None:
    """Rows are padded to four elements, which is two vectors of two lanes."""
    lanes = ISAS[isa].lanes(dtype)
    for features in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        rows = Rows(5, features, lanes, dtype)
        _check(isa, rows)
        _check_tables(isa, rows, True, True)


@pytest.mark.parametrize(("scale", "bias"), PARAMETERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tables(isa: str, dtype: str, scale: bool, bias: bool) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for n, c in ((1, lanes), (2, 1), (7, 2 * lanes + 3)):
        _check_tables(isa, Image(n, c, 3, 5, lanes, dtype), scale, bias)


def _check_tables(isa: str, x: Activations, scale: bool, bias: bool) -> None:
    check_kernel(BatchNormMoments(x, 1e-5, scale, bias), isa)
    check_kernel(BatchNormFrozen(x, 1e-3, scale, bias), isa)
    check_kernel(BatchNormBackwardWeights(x, scale, bias), isa)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics(isa: str, dtype: str, momentum: float | None) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes, 2 * lanes + 3):
        vectors = ChannelVectors.of(Image(1, c, 1, 1, lanes, dtype))
        check_kernel(BatchNormRunning(RunningVectors(vectors), momentum), isa)


def test_an_activation_that_is_no_gate_is_refused() -> None:
    x, isa = Image(2, 4, 3, 3, 4, "float32"), ISAS["sse41"]
    for spec in (BatchNormGradientParts, BatchNormBackwardInput):
        arguments = (x, x, x) if spec is BatchNormBackwardInput else (x, x)
        with pytest.raises(ValueError, match="not a gate"):
            emit_kernel(spec(*arguments, Activation("tanh")), isa)
    with pytest.raises(ValueError, match="not fusible"):
        emit_kernel(BatchNormForward(x, x, Activation("gelu")), isa)
