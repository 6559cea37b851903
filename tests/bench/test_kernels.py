"""Rows of kernels: every distinct kernel once, with plausible numbers, and without a trace in the step's data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from networks import NETWORKS, make

from asmgen.asm.isa import ISAS
from asmgen.bench.clock import CallList, core_hertz, ticks_per_second
from asmgen.bench.direct import direct_spec, operand_bytes
from asmgen.bench.kernels import kernel_rows, step_machine
from asmgen.bench.peak import Peak
from asmgen.emit.generate import emit_plan
from asmgen.harness.library import load_kernel
from asmgen.harness.peak import peak_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan import specs
from asmgen.plan.build import build_plan
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.tile.candidates import candidates
from asmgen.tile.sparse import conv2d_dw_pooled
from asmgen.tile.sparse.conv2d_dw_tap_lanes import TapTile


def test_clocks(isa):
    """The FMA loop does at most three vectors a cycle on any core, and more than a tenth of one under any load."""
    assert 1e8 < ticks_per_second() < 1e10
    listing = peak_kernel(ISAS[isa], "float32")
    calls = CallList([(load_kernel(listing), 0, 0, 0, 0, 0, 0)], isa)
    per_cycle = listing.facts.flops / calls.sample(0.01) / core_hertz(ISAS[isa]) / ISAS[isa].lanes("float32") / 2
    assert 0.1 < per_cycle < 3


@pytest.mark.parametrize("network", ["conv_relu_maxpool", "mlp"])
def test_rows(network, isa):
    layers, outputs = NETWORKS[network]
    model = make(layers, outputs, dtype="float32")
    level = ISAS[isa]
    plan = build_plan(model, level.lanes(model.dtype))
    listings = emit_plan(plan, level)
    rows = list(kernel_rows(model, plan, level, listings, Peak.of(level, model.dtype), 1))
    assert [row.kernel for row in rows] == list(listings)
    for row in rows:
        assert row.seconds > 0
        assert row.cycles > 0
        assert 0 <= row.peak_share < 4
        assert row.is_effective == (row.direct is not None)


def test_measuring_leaves_the_step_as_it_was(isa):
    """In-place kernels run many times over their data; what follows must still see one pass."""
    layers, outputs = NETWORKS["mlp"]
    model = make(layers, outputs)
    level = ISAS[isa]
    plan = build_plan(model, level.lanes(model.dtype))
    listings = emit_plan(plan, level)
    machines = [step_machine(model, plan, level, listings) for _ in range(2)]
    for entry in plan.entries:
        machines[0].execute(entry)
    measured = machines[1]
    rows = kernel_rows(model, plan, level, listings, Peak.of(level, model.dtype), 1, machine=measured)
    assert len(list(rows)) == len(listings)
    for tensor in plan.tensors:
        if tensor.name not in ("loss", "pixels"):  # pixels: addresses, and each machine has images of its own
            np.testing.assert_array_equal(machines[0].bytes(tensor.name), measured.bytes(tensor.name), tensor.name)


def test_direct_rows_of_kernels_that_do_less():
    halo = Halo(1, 1, 1, 1)
    conv = specs.Conv(
        Image(2, 5, 6, 9, 4, "float64", halo), ConvWeights(7, 5, 3, 3, 4, "float64"), 6, 9, 1, 1, 1, 1, True
    )
    pool = specs.Pool("max", 3, 3, 3, 3)
    dz, dy = Image(2, 7, 6, 9, 4, "float64", halo), Image(2, 7, 2, 3, 4, "float64")
    dx = Image(2, 5, 6, 9, 4, "float64")
    sparse = specs.Conv2dBackwardInputSparse(conv, dy, dx, pool)
    direct = _direct(sparse)
    assert direct == specs.Conv2dBackwardInput(conv, dz, dx)
    assert direct.flops() == sparse.flops()
    assert operand_bytes(direct) == (dz.size_bytes, conv.weights.input_gradient().size_bytes, dx.size_bytes)
    assert _direct(direct) is None
    assert _direct(specs.Conv2dBackwardWeightsSparse(conv, dy, pool)).flops() == sparse.flops()


def test_only_the_pooled_gradient_that_skips_positions_has_a_direct_row(isa):
    """Taps in lanes: one patch for each gradient; the other tiles multiply at every position of a window."""
    level = ISAS[isa]
    vector = level.lanes("float32")
    conv = specs.Conv(
        Image(2, 3, 8, 8, 1, "float32"), ConvWeights(6, 3, 3, 3, vector, "float32"), 6, 6, 1, 1, 0, 0, True,
        specs.Pixels((1.0,) * 3, (0.0,) * 3),
    )  # fmt: skip
    spec = specs.Conv2dBackwardWeightsPooled(
        conv, Image(2, 6, 3, 3, vector, "float32"), specs.Pool("max", 2, 2, 2, 2), 2
    )
    best = {type(each.tile): each.tile for each in reversed(candidates(spec, level))}
    assert direct_spec(spec, level, emit_kernel(spec, level, best[conv2d_dw_pooled.Tile])) is None
    direct = direct_spec(spec, level, emit_kernel(spec, level, best[TapTile]))
    stored = specs.Conv2dBackwardWeights(replace(conv, pixels=None), Image(2, 6, 6, 6, vector, "float32"))
    assert direct == stored
    assert direct.flops() == spec.flops()
    assert Peak.of(level, "float32").direct(direct, level, 1).peak_share > 0


def test_every_kind_of_product_has_its_direct_form():
    """A new spec of a convolution must say what it replaces, or that it is direct."""
    known = {
        specs.Conv2dBackwardInput, specs.Conv2dBackwardInputPooled, specs.Conv2dBackwardWeights, specs.Conv2dForward,
        specs.DenseBackwardInput, specs.DenseBackwardWeights, specs.DenseForward, specs.DenseForwardByOutput,
        specs.DenseBackwardWeightsStep,
    }  # fmt: skip
    reduced = {
        specs.Conv2dBackwardInputSparse, specs.Conv2dBackwardInputWinograd, specs.Conv2dBackwardWeightsPooled,
        specs.Conv2dBackwardWeightsSparse, specs.Conv2dForwardWinograd,
    }  # fmt: skip
    named = {
        vars(specs)[name] for name in specs.__all__ if name.startswith(("Conv2dForward", "Conv2dBackward", "Dense"))
    }
    assert named == set(itertools.chain(known, reduced))


def _direct(spec):
    return direct_spec(spec, ISAS["avx2"], emit_kernel(spec, ISAS["avx2"]))
