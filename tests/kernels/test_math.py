"""exp, log, sigmoid, tanh and softplus: errors in ulp against long doubles, and the ends of their ranges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import ISAS
from asmgen.harness.math_error import FUNCTIONS, Function, errors, evaluate
from asmgen.kernels import math

LIMITS_ULP = {
    "exp": (1.0, 1.0),
    "log": (1.0, 1.0),
    "sigmoid": (2.0, 2.0),
    "tanh": (2.0, 2.25),
    "softplus": (2.25, 2.25),
}
BY_NAME = {function.name: function for function in FUNCTIONS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_error(isa: str, dtype: str, function: Function) -> None:
    limit = LIMITS_ULP[function.name][dtype == "float64"]
    found = errors(function, ISAS[isa], function.samples(70_000, dtype))
    assert not np.isnan(found).any()
    assert found.max() <= limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("exp", {0: 1, -1e30: 0, -np.inf: 0, 1e30: np.inf, np.inf: np.inf, 1e-30: 1}),
        ("log", {1: 0}),
        ("sigmoid", {0: 0.5, -1e30: 0, -np.inf: 0, 1e30: 1, np.inf: 1, 50: 1}),
        ("tanh", {0: 0, 1e-30: 1e-30, -1e-30: -1e-30, 1e30: 1, -1e30: -1, np.inf: 1, -np.inf: -1, 25: 1}),
        ("softplus", {-1e30: 0, -np.inf: 0, 1e30: 1e30, np.inf: np.inf, 100: 100}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ends(isa: str, dtype: str, name: str, values: dict[float, float]) -> None:
    """Limits are reached exactly."""
    got = evaluate(BY_NAME[name], ISAS[isa], np.array(list(values), dtype))
    assert np.array_equal(got, np.array(list(values.values()), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_nan_stays_nan(isa: str, dtype: str, function: Function) -> None:
    """With any payload and sign: integer arithmetic on the bits must not make a number of it."""
    x = np.full(8, np.nan, dtype)
    words = x.view(np.uint32 if dtype == "float32" else np.uint64)
    words[1:] |= np.array([1, 2, 3, 0xFF, 0x1FF, 0x3FFFF, 0x3FFFFF], words.dtype)
    words[4:] |= np.array(1, words.dtype) << np.array(8 * words.itemsize - 1, words.dtype)
    assert np.isnan(evaluate(function, ISAS[isa], x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_symmetry(isa: str, dtype: str) -> None:
    """tanh is odd, bit for bit, and keeps the sign of zero."""
    x = BY_NAME["tanh"].samples(10_000, dtype)
    x[0] = 0.0
    forth, back = (evaluate(BY_NAME["tanh"], ISAS[isa], sign * x) for sign in (1, -1))
    assert forth.tobytes() == (-back).tobytes()
    assert np.array_equal(np.signbit(forth), np.signbit(x))


def test_overflow_of_exp(isa: str) -> None:
    """The last finite results, where 2^n itself is already infinite."""
    x = np.array([88.4, 88.7, 88.72283, 88.72284, 89], np.float32)
    got = evaluate(BY_NAME["exp"], ISAS[isa], x)
    np.testing.assert_allclose(got[:3], np.exp(x[:3].astype(np.float64)), rtol=1e-7)
    assert np.isinf(got[3:]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_of_a_sum_of_two(isa: str, dtype: str) -> None:
    """What rounding an argument has lost moves its exponential by up to hundreds of ulp."""
    part = {"float32": 2.0**-24, "float64": 2.0**-53}[dtype]

    def emit(asm: Assembler, x: Any) -> None:
        low = asm.vec.alloc("low")
        asm.v.load(low, asm.vector_constant("part", part))
        asm.v.mul(low, low, x)
        math.exp(asm, x, low)
        asm.vec.free(low)

    exp = BY_NAME["exp"]
    function = Function("exp_low", emit, lambda x: np.exp(x + x * part), exp.low, exp.high)
    assert errors(function, ISAS[isa], exp.samples(20_000, dtype)).max() <= 1.0


def test_coefficients_are_those_of_the_script() -> None:
    pytest.importorskip("mpmath")
    root = Path(__file__).resolve().parents[2]
    script = [sys.executable, str(root / "scripts" / "fit_polynomials.py")]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed == (root / "asmgen" / "kernels" / "polynomials.py").read_text()
