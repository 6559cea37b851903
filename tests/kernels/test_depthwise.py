"""Depthwise convolutions: around the vector, odd images, strides, padding beyond the taps, one pixel, many taps."""

from __future__ import annotations

import pytest

from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, Model, SoftmaxCrossEntropy
from asmgen.asm.isa import ISAS
from asmgen.errors import ModelError
from asmgen.harness.check import check_kernel
from asmgen.model.trace import trace
from asmgen.plan.layout import NO_HALO, ConvWeights, Halo, Image
from asmgen.plan.specs import (
    Depthwise,
    DepthwiseBackwardInput,
    DepthwiseBackwardWeights,
    DepthwiseForward,
    KernelSpec,
)

# h, w, kernel, stride, pad
SHAPES = (
    (7, 9, (3, 3), (1, 1), (1, 1)),
    (7, 9, (3, 3), (2, 2), (1, 1)),
    (8, 11, (5, 2), (2, 3), (0, 1)),
    (1, 1, (3, 3), (1, 1), (1, 1)),
    (1, 1, (1, 1), (1, 1), (0, 0)),
    (5, 6, (2, 3), (1, 1), (4, 5)),
    (9, 13, (7, 7), (1, 1), (3, 3)),
    (7, 5, (1, 1), (3, 2), (0, 0)),
)


def depthwise_specs(lanes: int, dtype: str, c: int, shape: tuple, halo: Halo, *, bias: bool) -> list[KernelSpec]:
    """The three kernels of a shape."""
    h, w, (kh, kw), (sh, sw), (pt, pl) = shape
    oh, ow = (h + 2 * pt - kh) // sh + 1, (w + 2 * pl - kw) // sw + 1
    x, plain = Image(2, c, h, w, lanes, dtype, halo), Image(2, c, h, w, lanes, dtype)
    conv = Depthwise(x, ConvWeights(c, 1, kh, kw, lanes, dtype), oh, ow, sh, sw, pt, pl, bias)
    y, dz = Image(2, c, oh, ow, lanes, dtype, halo), Image(2, c, oh, ow, lanes, dtype)
    return [DepthwiseForward(conv, y), DepthwiseBackwardInput(conv, dz, plain), DepthwiseBackwardWeights(conv, dz)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels(isa: str, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for c in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        for spec in depthwise_specs(lanes, dtype, c, SHAPES[0], Halo(1, 2, 3, 1), bias=bool(c % 2)):
            check_kernel(spec, isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(isa: str, shape: tuple, dtype: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for spec in depthwise_specs(lanes, dtype, lanes + 1, shape, NO_HALO, bias=True):
        check_kernel(spec, isa)


@pytest.mark.parametrize("bias", [False, True])
def test_parts_of_the_samples(isa: str, bias: bool) -> None:
    """Weight gradients of 6 samples in parts, of more blocks of channels than one."""
    lanes = ISAS[isa].lanes("float32")
    x, dz = (Image(6, 2 * lanes + 1, size, 5, lanes, "float32") for size in (7, 6))
    conv = Depthwise(x, ConvWeights(x.c, 1, 2, 3, lanes, "float32"), 6, 5, 1, 1, 0, 1, bias)
    for parts in (2, 3, 6):
        check_kernel(DepthwiseBackwardWeights(conv, dz, parts), isa)


@pytest.mark.parametrize(("groups", "filters"), [(3, 3), (4, 8), (8, 16)])
def test_other_groups_are_refused(groups: int, filters: int) -> None:
    with pytest.raises(ModelError, match=rf"groups={groups}: only 1 or the number of channels"):
        trace(
            Model(
                name="groups", input=(8, 6, 6), layers=[Conv2D(filters, 3, groups=groups), Flatten(), Dense(2)],
                loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1), data=Dataset("none"),
            )
        )  # fmt: skip


def test_dilation_is_refused() -> None:
    with pytest.raises(ModelError, match="dilation=2: only 1"):
        Conv2D(8, 3, dilation=2)
