"""The naive loops compute the convolution: Python and C against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from networks import NETWORKS, make

from asmgen import Dense, Flatten
from asmgen.peers.naive import NaiveC, NaivePython, c_compiler, heaviest, python_convolution, step_macs
from asmgen.plan.build import build_plan
from asmgen.reference import conv

PLANS = {name: build_plan(make(*NETWORKS[name]), 4) for name in ("conv_relu_maxpool", "strides", "mlp")}


def expected(plan, x, k, b):
    spec = heaviest(plan)[0].spec
    if not hasattr(spec, "conv"):
        return (x[..., 0, 0] @ k[..., 0, 0].T + b)[..., None, None]
    return conv.forward(spec.conv, x, k, b * spec.conv.bias)


@pytest.mark.parametrize("name", PLANS)
def test_python(name):
    work = heaviest(PLANS[name])[1]
    x, k, b = work.draw("float64")
    z = python_convolution(work, x.tolist(), k.tolist(), b.tolist())
    np.testing.assert_allclose(z, expected(PLANS[name], x, k, b), rtol=1e-12, atol=1e-14)


@pytest.mark.skipif(c_compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("name", PLANS)
def test_c(name):
    work = heaviest(PLANS[name])[1]
    np.testing.assert_allclose(
        NaiveC(work, "float64").run(), expected(PLANS[name], *work.draw("float64")), rtol=1e-12, atol=1e-14
    )


def test_a_slice_is_part_of_the_work_and_of_the_wanted_size():
    work = heaviest(PLANS["conv_relu_maxpool"])[1]
    part = work.slice(2000)
    assert (part.n, part.c, part.kh, part.ow) == (1, work.c, work.kh, work.ow)
    assert part.macs <= 2000 < 2 * part.macs
    assert work.slice(10**9).macs == work.macs // work.n
    assert NaivePython(part, "float32").seconds_per_mac() > 0


def test_macs_of_a_step():
    plan = build_plan(make([Flatten(), Dense(7)], 3), 4)
    inputs = 2 * 11 * 10
    assert step_macs(plan, "forward") == 6 * (inputs * 7 + 7 * 3)
    assert step_macs(plan, "backward") == 6 * (inputs * 7 + 2 * 7 * 3)
