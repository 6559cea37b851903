"""The text of one tiny kernel an op and level: a change of what is generated is read in the review.

pytest tests/kernels/test_golden.py --update-golden writes tests/golden/ anew.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.kernels.registry import _EMITTERS, emit_kernel
from asmgen.plan import specs
from asmgen.plan.layout import ChannelVectors, ConvWeights, DenseWeights, Halo, Image, Rows, RunningVectors
from asmgen.plan.specs import Activation, Conv, Pixels, Pool
from asmgen.tile.conv import conv2d_fwd_pixel_lanes
from asmgen.tile.cost import Candidate

GOLDEN = Path(__file__).parents[1] / "golden"
MAX_LINES = 155

#: Kernels whose smallest text is longer than a reviewer reads; the manifest of a model has their facts.
TOO_LONG = {
    specs.Dropout,
    specs.Conv2dBackwardInputSparse,
    specs.Conv2dBackwardWeightsSparse,
    specs.Conv2dBackwardWeightsPooled,
    specs.WinogradWeights,
    specs.Conv2dForwardWinograd,
    specs.Conv2dBackwardInputWinograd,
    specs.Probabilities,
}

RELU, MAX2 = Activation("relu"), Pool("max", 2, 2, 2, 2)
F32 = "float32"


def depthwise(lanes: int) -> dict[str, specs.KernelSpec]:
    """Two taps on two pixels."""
    x, z = Image(1, lanes, 1, 3, lanes, F32), Image(1, lanes, 1, 2, lanes, F32)
    conv = specs.Depthwise(x, ConvWeights(lanes, 1, 1, 2, lanes, F32), 1, 2, 1, 1, 0, 0, True)
    return {
        "depthwise_fwd": specs.DepthwiseForward(conv, z),
        "depthwise_dx": specs.DepthwiseBackwardInput(conv, z, x),
        "depthwise_dw": specs.DepthwiseBackwardWeights(conv, z),
    }


def tiny(lanes: int) -> dict[str, specs.KernelSpec]:
    """One small spec an op, with the features that make an op what it is."""
    x, y, z = (Image(1, c, side, side, lanes, F32) for c, side in ((1, 2), (lanes, 1), (lanes, 2)))
    dz = Image(1, lanes, 2, 2, lanes, F32, Halo(1, 1, 1, 1))
    weights = ConvWeights(lanes, 1, 1, 1, lanes, F32)
    conv = Conv(x, weights, 2, 2, 1, 1, 0, 0, True)
    row, z_row, z_pair = (Image(1, c, h, 2, lanes, F32) for c, h in ((1, 1), (lanes, 1), (2, 2)))
    conv_of_row = Conv(row, weights, 1, 2, 1, 1, 0, 0, True)
    conv_of_one = Conv(x, ConvWeights(1, 1, 1, 1, lanes, F32), 2, 2, 1, 1, 0, 0, True)
    conv_to_pair = Conv(x, ConvWeights(2, 1, 1, 1, lanes, F32), 2, 2, 1, 1, 0, 0, True)
    pixels = Pixels((1 / 255,), (0.0,))
    conv_of_pixels = Conv(
        Image(1, 1, 2, 1, 1, F32), ConvWeights(1, 1, 1, 1, lanes, F32), 2, 1, 1, 1, 0, 0, True, pixels
    )
    conv_of_pixel = Conv(Image(1, 1, 1, 1, 1, F32), ConvWeights(2, 1, 1, 1, lanes, F32), 1, 1, 1, 1, 0, 0, True, pixels)
    pixels_of_three = Image(1, 3, 1, 5, lanes, F32)
    inputs, outputs = Rows(1, 4, lanes, F32), Rows(1, 1, lanes, F32)
    dense = DenseWeights(1, inputs, lanes, F32)
    step = specs.Update("sgd", F32, lanes, dense.size_bytes // (4 * lanes))
    by_output, whole = dense.by_output(), Rows(1, lanes, lanes, F32)
    step_by_output = specs.Update("sgd", F32, lanes, by_output.size_bytes // (4 * lanes))
    return {
        "sum_parts": specs.SumParts.of(weights, 3, bias=False),
        "load_input": specs.LoadInput(1, 1, 3, Rows(2, 3, lanes, F32), (1 / 255,), (0.0,)),
        "load_input_blocks": specs.LoadInput(2, 1, 3, Image(2, 2, 1, 3, lanes, F32), (1 / 255,) * 2, (0.0, 1.0)),
        "conv2d_fwd": specs.Conv2dForward(conv, y, RELU, MAX2, codes=True),
        "conv2d_fwd_pixels": specs.Conv2dForward(
            conv_of_pixels, Image(1, 1, 2, 1, lanes, F32), RELU, None, codes=False
        ),
        "conv2d_fwd_pixel_lanes": specs.Conv2dForward(
            conv_of_pixel, Image(1, 2, 1, 1, lanes, F32), RELU, None, codes=False
        ),
        "conv2d_unpool": specs.Conv2dUnpool(y, y, dz, RELU, MAX2),
        "conv2d_dx": specs.Conv2dBackwardInput(conv_to_pair, z_pair, x),
        "conv2d_dw": specs.Conv2dBackwardWeights(conv_of_row, z_row),
        "conv2d_pack_dx": specs.Conv2dPackBackwardInput(weights),
        "conv2d_pack_fwd": specs.Conv2dPackForward(ConvWeights(1, lanes, 1, 1, lanes, F32).by_input()),
        "live_entries": specs.LiveEntries(conv_of_one, Image(1, 1, 1, 1, lanes, F32), MAX2),
        "pool_fwd": specs.PoolForward(z, y, MAX2),
        "pool_bwd": specs.PoolBackward(y, z, MAX2),
        "global_avg_pool_fwd": specs.GlobalAvgPoolForward(z, whole),
        "global_avg_pool_bwd": specs.GlobalAvgPoolBackward(whole, z),
        "act_fwd": specs.ActForward(inputs, inputs, RELU),
        "act_bwd": specs.ActBackward(inputs, inputs, inputs, RELU),
        "add": specs.Add(inputs, inputs, inputs),
        "concat_fwd": specs.ConcatForward(x, Image(1, lanes + 2, 2, 2, lanes, F32), lanes + 1),
        "concat_bwd": specs.ConcatBackward(z, Image(1, lanes - 1, 2, 2, lanes, F32), 1),
        "in_order_fwd": specs.InOrderForward(pixels_of_three, Rows(1, 15, lanes, F32)),
        "in_order_bwd": specs.InOrderBackward(Rows(1, 15, lanes, F32), pixels_of_three),
        **depthwise(lanes),
        "batch_norm_parts": specs.BatchNormParts(z),
        "batch_norm_moments": specs.BatchNormMoments(z, 1e-5, True, True),
        "batch_norm_frozen": specs.BatchNormFrozen(z, 1e-5, True, True),
        "batch_norm_running": specs.BatchNormRunning(RunningVectors(ChannelVectors.of(z)), 0.1),
        "batch_norm_fwd": specs.BatchNormForward(z, z, RELU),
        "batch_norm_gradient_parts": specs.BatchNormGradientParts(z, z, RELU),
        "batch_norm_dw": specs.BatchNormBackwardWeights(z, True, True),
        "batch_norm_dx": specs.BatchNormBackwardInput(*(Image(1, lanes, 1, 1, lanes, F32),) * 3, RELU),
        "dense_fwd": specs.DenseForward(inputs, dense, outputs, True, RELU),
        "dense_dx": specs.DenseBackwardInput(outputs, dense, inputs),
        "dense_fwd_by_output": specs.DenseForwardByOutput(inputs, by_output, outputs, True, RELU),
        "dense_fwd_turned": specs.DenseForwardByOutput(
            inputs, DenseWeights(lanes, inputs, lanes, F32), whole, True, RELU
        ),
        "dense_dw": specs.DenseBackwardWeights(inputs, outputs, dense, False),
        "dense_dw_sgd": specs.DenseBackwardWeightsStep(inputs, outputs, dense, False, step, ()),
        "dense_dw_sgd_by_output": specs.DenseBackwardWeightsStep(inputs, outputs, by_output, False, step_by_output, ()),
        "loss_mse": specs.Loss("mse", outputs),
        "loss_mse_eval": specs.Loss("mse", outputs, gradient=False),
        "update_sgd": specs.Update("sgd", F32, lanes, 2),
    }


#: Kinds of tiles that only larger shapes choose by themselves.
CANDIDATES: dict[str, Callable[[Any, Isa], Sequence[Candidate[Any]]]] = {
    "conv2d_fwd_pixel_lanes": conv2d_fwd_pixel_lanes.candidates,
}


@pytest.mark.parametrize("op", tiny(4))
@pytest.mark.parametrize("isa", ISAS)
def test_text(isa: str, op: str, request: pytest.FixtureRequest) -> None:
    spec, level = tiny(ISAS[isa].lanes(F32))[op], ISAS[isa]
    tile = CANDIDATES[op](spec, level)[0].tile if op in CANDIDATES else None
    text = emit_kernel(spec, level, tile).text()
    golden = GOLDEN / f"{op}_{isa}.asm"
    assert text.count("\n") < MAX_LINES
    assert text.split()[1] == spec.text
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert golden.exists(), f"{golden} is missing: run this test with --update-golden and read the new file"
    difference = difflib.unified_diff(golden.read_text().splitlines(), text.splitlines(), "golden", "now", lineterm="")
    changed = "\n".join(difference)
    assert not changed, f"{golden} differs; if that is meant, run with --update-golden:\n{changed}"


def test_every_op_has_a_golden_and_every_golden_an_op() -> None:
    assert {type(spec) for spec in tiny(4).values()} == set(_EMITTERS) - TOO_LONG
    assert {path.name for path in GOLDEN.glob("*.asm")} == {f"{op}_{isa}.asm" for op in tiny(4) for isa in ISAS}
