"""The transposition of the weights between both kinds of lanes: whole and ragged blocks of both kinds of channels."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.conv import conv2d_pack
from asmgen.plan.layout import ConvWeights
from asmgen.plan.specs import Conv2dPackBackwardInput, Conv2dPackForward

KERNELS = [(1, 1), (3, 3), (5, 2)]
CHANNELS = [1, 2, 3, 4, 5, 8, 15, 16, 17, 35]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("oc", CHANNELS)
def test_transposition(isa: str, dtype: str, oc: int) -> None:
    for index, c in enumerate(CHANNELS):
        kh, kw = KERNELS[(index + oc) % len(KERNELS)]
        spec = Conv2dPackBackwardInput(ConvWeights(oc, c, kh, kw, ISAS[isa].lanes(dtype), dtype))
        check_kernel(spec, isa, emit=conv2d_pack.emit_input_gradient)
        back = Conv2dPackForward(spec.weights.by_input())
        check_kernel(back, isa, emit=conv2d_pack.emit_forward)
