"""exp, log and the functions made of them: errors in ulp against long doubles, and the ends of their ranges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import ISAS
from asmgen.harness import math_error
from asmgen.harness.math_error import Function, errors, evaluate
from asmgen.kernels.common import activations, transcendental
from asmgen.plan.specs import Activation

Array = np.ndarray[Any, Any]


def _normal_tail(a: Array) -> tuple[Array, Array]:
    """phi(a) and Phi(-a) of long doubles a >= 0 that are doubles: a series up to 2, a continued fraction above."""
    high = a.astype(np.float32).astype(np.longdouble)  # its square is exact
    phi = np.exp(-high * high / 2) * np.exp((high - a) * (high + a) / 2) / np.sqrt(8 * np.arctan(np.longdouble(1)))
    small, term, total = np.minimum(a, 2), np.minimum(a, 2), np.minimum(a, 2)
    for n in range(3, 99, 2):
        term = term * small * small / n
        total = total + term
    large = np.maximum(a, 2)
    fraction = large
    for n in range(400, 0, -1):
        fraction = large + n / fraction
    return phi, np.where(a < 2, np.longdouble(0.5) - phi * total, phi / fraction)


def _gelu(x: Array) -> Array:
    a = np.abs(x)
    return np.asarray(np.maximum(x, 0) - a * _normal_tail(a)[1])


def _gelu_slope(x: Array) -> Array:
    phi, tail = _normal_tail(np.abs(x))
    d = tail - np.abs(x) * phi
    return np.asarray(np.where(x < 0, d, 1 - d))


def _gelu_terms(x: Array) -> Array:
    phi, tail = _normal_tail(np.abs(x))
    return np.asarray(np.where(x < 0, tail + np.abs(x) * phi, 1))


def _silu(x: Array) -> Array:
    a = np.abs(x)
    return np.asarray(np.maximum(x, 0) - a / (1 + np.exp(a)))


def _silu_slope(x: Array) -> Array:
    q = 1 / (1 + np.exp(np.abs(x)))
    d = q * (1 - np.abs(x) * (1 - q))
    return np.asarray(np.where(x < 0, d, 1 - d))


def _silu_terms(x: Array) -> Array:
    q = 1 / (1 + np.exp(np.abs(x)))
    return np.asarray(np.where(x < 0, q * (1 + np.abs(x) * (1 - q)), 1))


def _elu(alpha: float) -> Callable[[Array], Array]:
    return lambda x: np.asarray(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def _hard_swish(x: Array) -> Array:
    return np.asarray(x * np.clip(x + 3, 0, 6) / 6)


def _applied(act: Activation) -> Callable[[Assembler, Any], None]:
    """An activation as products apply it, in place."""

    def emit(asm: Assembler, x: Any) -> None:
        spare = asm.vec.alloc("spare")
        asm.v.mov(x, activations.activated(asm, act, x, spare))
        asm.vec.free(spare)

    return emit


_LOW, _HIGH = {"float32": -13.1, "float64": -37.5}, {"float32": 30.0, "float64": 50.0}
GELU_SLOPE = Function("gelu_slope", activations.gelu_slope, _gelu_slope, _LOW, _HIGH)
#: With the sums of the absolute terms that a slope is made of.
_EXP_LOW, _EXP_HIGH = {"float32": -86.9, "float64": -708.0}, {"float32": 88.7, "float64": 709.7}
SILU_SLOPE = Function("silu_slope", activations.silu_slope, _silu_slope, _EXP_LOW, _HIGH)
SLOPES = ((GELU_SLOPE, _gelu_terms), (SILU_SLOPE, _silu_terms))
FUNCTIONS = (
    *math_error.FUNCTIONS,
    Function("gelu", activations.gelu, _gelu, _LOW, _HIGH),
    Function("silu", activations.silu, _silu, _EXP_LOW, _HIGH),
    Function("expm1", transcendental.expm1, np.expm1, _EXP_LOW, _EXP_HIGH),
    Function("elu", lambda asm, x: activations.elu(asm, x, 1.0), _elu(1), _EXP_LOW, _HIGH),
    Function("elu_of_4", lambda asm, x: activations.elu(asm, x, 4.0), _elu(4), _EXP_LOW, _HIGH),
    Function("hard_swish", activations.hard_swish, _hard_swish, _EXP_LOW, _HIGH),
    Function("relu6", _applied(Activation("relu6")), lambda x: np.clip(x, 0, 6), _EXP_LOW, _HIGH),
)
LIMITS_ULP = {
    "exp": (1.0, 1.0),
    "log": (1.0, 1.0),
    "sigmoid": (2.0, 2.0),
    "tanh": (2.0, 2.25),
    "softplus": (2.25, 2.25),
    "gelu": (4.5, 5.0),
    "silu": (3.25, 3.25),
    "expm1": (2.0, 2.0),
    "elu": (2.0, 2.0),
    "elu_of_4": (2.0, 2.0),
    "hard_swish": (3.0, 3.0),
    "relu6": (0.0, 0.0),
}
SLOPE_LIMIT_EPS = 3.0
BY_NAME = {function.name: function for function in (*FUNCTIONS, *(slope for slope, _ in SLOPES))}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_error(isa: str, dtype: str, function: Function) -> None:
    limit = LIMITS_ULP[function.name][dtype == "float64"]
    found = errors(function, ISAS[isa], function.samples(70_000, dtype))
    assert not np.isnan(found).any()
    assert found.max() <= limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("slope", "terms"), SLOPES, ids=lambda value: getattr(value, "name", ""))
def test_error_of_slopes(isa: str, dtype: str, slope: Function, terms: Callable[[Array], Array]) -> None:
    """In eps of their terms: near a zero of its own a slope is a difference."""
    x = slope.samples(20_000, dtype)
    exact = x.astype(np.longdouble)
    error = np.abs(evaluate(slope, ISAS[isa], x) - slope.exact(exact))
    assert not np.isnan(error).any()
    assert (error / terms(exact)).max() <= SLOPE_LIMIT_EPS * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "zero_from", "normal_to"), [("gelu", -40, -13), ("silu", -750, -86)])
def test_signs(isa: str, dtype: str, name: str, zero_from: float, normal_to: float) -> None:
    """Below zero they are never above it, down to where they are flushed to zero and beyond."""
    x = -np.exp(np.linspace(-60, 60, 20_000)).astype(dtype)
    y = evaluate(BY_NAME[name], ISAS[isa], x)
    assert (y <= 0).all()
    assert (y[x < zero_from] == 0).all()
    assert (y[(x > normal_to) & (x < -1e-20)] < 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("exp", {0: 1, -1e30: 0, -np.inf: 0, 1e30: np.inf, np.inf: np.inf, 1e-30: 1}),
        ("log", {1: 0}),
        ("sigmoid", {0: 0.5, -1e30: 0, -np.inf: 0, 1e30: 1, np.inf: 1, 50: 1}),
        ("tanh", {0: 0, 1e-30: 1e-30, -1e-30: -1e-30, 1e30: 1, -1e30: -1, np.inf: 1, -np.inf: -1, 25: 1}),
        ("gelu", {0: 0, -1e30: 0, -np.inf: 0, -40: 0, 40: 40, 1e30: 1e30, np.inf: np.inf}),
        ("gelu_slope", {-1e30: 0, -np.inf: 0, -40: 0, 40: 1, 1e30: 1, np.inf: 1}),
        ("silu", {0: 0, -1e30: 0, -np.inf: 0, -750: 0, 50: 50, 1e30: 1e30, np.inf: np.inf}),
        ("silu_slope", {-1e30: 0, -np.inf: 0, -750: 0, 50: 1, 1e30: 1, np.inf: 1}),
        ("expm1", {0: 0, 1e-30: 1e-30, -1e-30: -1e-30, -1e30: -1, -np.inf: -1, -50: -1, 1e30: np.inf, np.inf: np.inf}),
        ("elu", {0: 0, 1e-30: 1e-30, -1e-30: -1e-30, -1e30: -1, -np.inf: -1, 50: 50, 1e30: 1e30, np.inf: np.inf}),
        ("elu_of_4", {0: 0, -1e-30: -4e-30, -np.inf: -4, 50: 50, np.inf: np.inf}),
        ("hard_swish", {0: 0, -3: 0, -1e30: 0, -np.inf: 0, 3: 3, 7: 7, 1e30: 1e30, np.inf: np.inf}),
        ("relu6", {0: 0, -1: 0, -np.inf: 0, 5: 5, 6: 6, 7: 6, np.inf: 6}),
        ("softplus", {-1e30: 0, -np.inf: 0, 1e30: 1e30, np.inf: np.inf, 100: 100}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ends(isa: str, dtype: str, name: str, values: dict[float, float]) -> None:
    """Limits are reached exactly."""
    got = evaluate(BY_NAME[name], ISAS[isa], np.array(list(values), dtype))
    assert np.array_equal(got, np.array(list(values.values()), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", BY_NAME.values(), ids=lambda function: function.name)
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
        transcendental.exp(asm, x, low)
        asm.vec.free(low)

    exp = BY_NAME["exp"]
    function = Function("exp_low", emit, lambda x: np.exp(x + x * part), exp.low, exp.high)
    assert errors(function, ISAS[isa], exp.samples(20_000, dtype)).max() <= 1.0


def test_coefficients_are_those_of_the_script() -> None:
    pytest.importorskip("mpmath")
    root = Path(__file__).resolve().parents[2]
    script = [sys.executable, str(root / "scripts" / "fit_polynomials.py")]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed == (root / "asmgen" / "kernels" / "common" / "polynomials.py").read_text()
