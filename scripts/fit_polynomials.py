#!/usr/bin/env python3
"""Prints asmgen/kernels/common/polynomials.py: the polynomials behind exp, log and GELU, fitted with mpmath.

    python scripts/fit_polynomials.py > asmgen/kernels/common/polynomials.py

Each polynomial interpolates its function at the Chebyshev nodes of the interval, which is within a small factor of the
best one; then its coefficients are rounded to the dtype. `error` is the largest effect on the final result, relative
to it, of replacing the function by the rounded polynomial (arithmetic not counted), sampled densely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mpf

mpmath.mp.dps = 60

HALF_LN2 = mpmath.log(2) / 2 * mpf("1.0001")  # the argument is reduced with one rounding
SQRT2_M1 = mpmath.sqrt(2) - 1
N_SAMPLES = 400


@dataclass(frozen=True)
class Fit:
    """f ~ polynomial on [low, high]; share(x) turns an error of f(x) into a relative error of the final result."""

    name: str
    formula: str
    f: Callable[[mpf], mpf]
    share: Callable[[mpf], mpf]
    low: mpf
    high: mpf
    degrees: dict[str, int]


def exp_rest(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2."""
    return mpf(1) / 2 if abs(r) < mpf(10) ** -20 else (mpmath.expm1(r) - r) / r**2


def log_rest(z: mpf) -> mpf:
    """(log((1+s) / (1-s)) - 2s) / s^3 with z = s^2."""
    if z < mpf(10) ** -20:
        return mpf(2) / 3
    s = mpmath.sqrt(z)
    return (2 * mpmath.atanh(s) - 2 * s) / s**3


def log_share(z: mpf) -> mpf:
    """log(1+f) = f - s*(f - z*L(z)): an error of L counts s^3, relative to log(1+f) = 2 atanh(s)."""
    return z if z < mpf(10) ** -20 else mpmath.sqrt(z) ** 3 / (2 * mpmath.atanh(mpmath.sqrt(z)))


def normal_tail(t: mpf) -> mpf:
    """(a + 5) Phi(-a) e^(a^2 / 2) with t = (a - 5) / (a + 5)."""
    a = 5 * (1 + t) / (1 - t)
    return (a + 5) * mpmath.erfc(a / mpmath.sqrt(2)) / 2 * mpmath.exp(a * a / 2)


FITS = (
    Fit(
        "EXP", "e^r = 1 + r + r^2 E(r), |r| <= ln(2)/2", exp_rest, lambda r: r * r / mpmath.exp(r),
        -HALF_LN2, HALF_LN2, {"float32": 5, "float64": 9},
    ),
    Fit(
        "LOG", "log(1+f) = f - s (f - s^2 L(s^2)), s = f/(2+f), sqrt(1/2) <= 1+f <= sqrt(2)", log_rest, log_share,
        mpf(0), (SQRT2_M1 / (2 + SQRT2_M1)) ** 2 * mpf("1.0001"), {"float32": 3, "float64": 6},
    ),
    Fit(
        "LOG1P", "the same, 0 <= f <= 1", log_rest, log_share, mpf(0), mpf(1) / 9, {"float32": 4, "float64": 9},
    ),
    Fit(
        "NORMAL_TAIL", "Phi(-a) = e^(-a^2 / 2) P(t) / (a + 5), t = (a - 5) / (a + 5), 0 <= a <= 39", normal_tail,
        lambda t: 1 / normal_tail(t), mpf(-1), mpf(39 - 5) / (39 + 5), {"float32": 11, "float64": 21},
    ),
)  # fmt: skip


def chebyshev_fit(fit: Fit, degree: int) -> list[mpf]:
    """Coefficients, constant first, of the interpolation at degree + 1 Chebyshev nodes."""
    middle, radius = (fit.high + fit.low) / 2, (fit.high - fit.low) / 2
    nodes = [middle + radius * mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)]
    powers = mpmath.matrix([[x**k for k in range(degree + 1)] for x in nodes])
    return list(mpmath.lu_solve(powers, mpmath.matrix([fit.f(x) for x in nodes])))


def rounded(values: Iterable[mpf], dtype: str) -> list[float]:
    if dtype == "float64":
        return [float(value) for value in values]
    return [float(np.float32(float(value))) for value in values]


def largest_error(fit: Fit, coefficients: list[float]) -> float:
    worst = mpf(0)
    for i in range(N_SAMPLES + 1):
        x = fit.low + (fit.high - fit.low) * i / N_SAMPLES
        error = mpmath.polyval([mpf(c) for c in reversed(coefficients)], x) - fit.f(x)
        worst = max(worst, abs(error * fit.share(x)))
    return float(worst)


def main() -> None:
    print('"""Coefficients of the polynomials in transcendental.py and activations.py, highest power first.')
    print('\nWritten by scripts/fit_polynomials.py; change that.\n"""')
    for fit in FITS:
        print(f"\n# {fit.formula}.")
        print(f"{fit.name}: dict[str, tuple[float, ...]] = {{")
        for dtype, degree in fit.degrees.items():
            coefficients = rounded(chebyshev_fit(fit, degree), dtype)
            print(f'    "{dtype}": (  # error {largest_error(fit, coefficients):.1e}')
            for value in reversed(coefficients):
                print(f"        {value!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main()
