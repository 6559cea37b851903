"""Batch normalisation: around what a warp reads at once, with halos, of features, of many planes, of half a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.check import check_cuda_kernels
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
    KernelSpec,
)

GATES = (Activation(), Activation("relu"), Activation("leaky_relu", 0.25))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_passes(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    shapes: list[Activations] = [Image(3, c, 3, 5, lanes, dtype, Halo(1, 2, 3, 1)) for c in (1, lanes, 2 * lanes + 3)]
    shapes += [Image(2, lanes + 1, h, w, lanes, dtype) for h, w in ((1, 1), (1, 8), (4, 8), (7, 7))]
    shapes += [Rows(5, features, lanes, dtype) for features in (1, lanes, 2 * lanes + 3)]
    shapes += [Image(n, 1, 1, 3, lanes, dtype) for n in (1028, 1030)]
    specs: list[KernelSpec] = []
    for number, x in enumerate(shapes):
        plain = replace(x, halo=NO_HALO) if isinstance(x, Image) else x
        act = GATES[number % len(GATES)]
        specs += [
            BatchNormParts(x),
            BatchNormForward(plain, x, act),
            BatchNormForward(x, plain, act, x),
            BatchNormGradientParts(x, plain, act),
            BatchNormBackwardInput(x, plain, plain, act),
        ]
    check_cuda_kernels(specs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tables(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    specs: list[KernelSpec] = []
    for n, c in ((1, lanes), (2, 1), (70, 2 * lanes + 3)):
        x = Image(n, c, 3, 5, lanes, dtype)
        for scale, bias in ((True, True), (True, False), (False, True), (False, False)):
            specs += [
                BatchNormMoments(x, 1e-5, scale, bias),
                BatchNormFrozen(x, 1e-3, scale, bias),
                BatchNormBackwardWeights(x, scale, bias),
            ]
        specs += [BatchNormRunning(RunningVectors(ChannelVectors.of(x)), momentum) for momentum in (0.1, None)]
    check_cuda_kernels(specs)
