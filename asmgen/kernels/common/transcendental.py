"""exp, expm1, log, sigmoid, tanh and softplus of a vector register, in place: instructions of an open Assembler.

The same algebra for every ISA and dtype (docs/math.md has the derivations and the measured errors): no table, no
branch, no instruction beyond arithmetic, shifts and integer addition. NaN stays NaN. Temporaries are taken from the
vector registers and given back; on an ISA without FMA its scratch vector is used, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common import polynomials


@dataclass(frozen=True)
class _Format:
    """A binary floating point format, and the constants that depend on it.

    ln2_high has so few bits that its product with any exponent is exact; ln2_high + ln2_low is ln 2 to about 1.6
    times the format's precision. sqrt_half is below sqrt(1/2) by less than an ulp.
    """

    fraction_bits: int
    bias: int
    ln2_high: float
    ln2_low: float
    exp_low: float  # e^x is flushed to zero from here down
    exp_high: float  # e^x is infinite from here up
    sqrt_half: int  # bits

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.fraction_bits


_FORMATS = {
    4: _Format(23, 127, float.fromhex("0x1.62E4p-1"), float.fromhex("0x1.7F7D1Cp-20"), -87.3, 89.0, 0x3F3504F3),
    8: _Format(
        52,
        1023,
        float.fromhex("0x1.62E42FEFA2p-1"),
        float.fromhex("0x1.9EF35793C7673p-41"),
        -708.3,
        710.0,
        0x3FE6A09E667F3BCC,
    ),
}


def sign_bit(asm: Assembler) -> Any:
    """The constant with only the sign bit set in every lane."""
    return asm.integer_constant("sign_bit", 1 << 8 * asm.element_bytes - 1, "the sign bit")


def exp(asm: Assembler, x: Any, low: Any = None) -> None:
    """x = e^(x + low), low about an ulp of x (None: 0). Zero below 2^-125.5 (float64: 2^-1021.5), infinity above the
    range."""
    with temporaries(asm, "2^(n-1)", "2(e^r - 1)") as (scale, q):
        _exp_parts(asm, x, scale, q, low)
        asm.v.add(x, q, asm.vector_constant("two", 2.0))
        asm.note("2 e^r")
        asm.v.mul(x, x, scale)
        asm.note("e^x = 2^(n-1) 2 e^r")


def expm1(asm: Assembler, x: Any) -> None:
    """x = e^x - 1 = 2m, m = (2^(n-1) - 1/2) + 2^(n-1) (e^r - 1), as in tanh: no cancellation.

    -1 where e^x is flushed to zero, infinity above the range.
    """
    v = asm.v
    half = asm.vector_constant("half", 0.5)
    asm.comment("e^x - 1 = 2m, m = (2^(n-1) - 1/2) + 2^(n-1) (e^r - 1)")
    with temporaries(asm, "2^(n-1)", "2(e^r - 1)") as (scale, q):
        _exp_parts(asm, x, scale, q)
        v.mul(q, q, half)
        asm.note("e^r - 1")
        v.mul(q, q, scale)
        asm.note("2^(n-1) (e^r - 1)")
        v.sub(scale, scale, half)
        asm.note("2^(n-1) - 1/2")
        v.add(x, q, scale)
        asm.note("m")
        v.add(x, x, x)
        asm.note("e^x - 1")


def sigmoid(asm: Assembler, x: Any) -> None:
    """x = 1 / (1 + e^-x): y = e^-|x| / (1 + e^-|x|) for negative x, 1 - y for positive."""
    v = asm.v
    is_negative = v.mask_alloc("x < 0")
    asm.comment("sigmoid: e = e^-|x|, y = e / (1 + e); y where x < 0, else 1 - y")
    v.less(is_negative, x, asm.vector_constant("zero", 0.0))
    asm.note("x < 0")
    v.or_(x, x, sign_bit(asm))
    asm.note("-|x|")
    exp(asm, x)
    over_one_plus(asm, x)
    with temporaries(asm, "1 - y") as (other,):
        v.load(other, asm.vector_constant("one", 1.0))
        v.sub(other, other, x)
        asm.note("1 - y")
        v.select(x, is_negative, x, other)
        asm.note("x < 0 ? y : 1 - y")
    v.mask_free(is_negative)


def tanh(asm: Assembler, x: Any) -> None:
    """x = tanh x = -m / (1 + m) with m = (e^-2|x| - 1) / 2, and the sign of x.

    m = (2^(n-1) - 1/2) + 2^(n-1) (e^r - 1) has no cancellation: for small x, n = 0 and m = (e^r - 1) / 2 comes from
    the polynomial.
    """
    v = asm.v
    half = asm.vector_constant("half", 0.5)
    asm.comment("tanh: m = (e^-2|x| - 1) / 2, |y| = -m / (1 + m), sign of x")
    with temporaries(asm, "sign", "2^(n-1)", "2(e^r - 1)") as (sign, scale, q):
        v.mov(sign, x)
        v.and_(sign, sign, sign_bit(asm))
        asm.note("the sign of x")
        v.or_(x, x, sign_bit(asm))
        asm.note("-|x|")
        v.add(x, x, x)
        asm.note("-2|x|")
        _exp_parts(asm, x, scale, q)
        v.mul(q, q, half)
        asm.note("e^r - 1")
        v.mul(q, q, scale)
        asm.note("2^(n-1) (e^r - 1)")
        v.sub(scale, scale, half)
        asm.note("2^(n-1) - 1/2")
        v.add(x, q, scale)
        asm.note("m; q becomes what this sum loses")
        v.sub(scale, scale, x)
        asm.note("(2^(n-1) - 1/2) - m, exact")
        v.add(q, q, scale)
        asm.note("lost of m")
        over_one_plus(asm, x, q)
        v.and_(x, x, asm.integer_constant("magnitude", (1 << 8 * asm.element_bytes - 1) - 1, "all but the sign bit"))
        asm.note("|y|")
        v.or_(x, x, sign)
        asm.note("with the sign of x")


def softplus(asm: Assembler, x: Any) -> None:
    """x = log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    v = asm.v
    asm.comment("log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)")
    with temporaries(asm, "max(x, 0)") as (positive,):
        v.zero(positive)
        v.max(positive, positive, x)
        asm.note("max(x, 0)")
        v.or_(x, x, sign_bit(asm))
        asm.note("-|x|")
        exp(asm, x)
        _log1p(asm, x, polynomials.LOG1P[asm.dtype], "log1p", "0 <= f <= 1")
        v.add(x, x, positive)
        asm.note("max(x, 0) + log(1 + e^-|x|)")


def log(asm: Assembler, x: Any) -> None:
    """x = log x for positive normal numbers; infinity gives NaN."""
    v, form = asm.v, _FORMATS[asm.element_bytes]
    # x = 2^k m with sqrt(1/2) <= m < sqrt(2): move the bits up so that the exponent field changes at sqrt(1/2)
    to_one = asm.integer_constant("one_less_sqrt_half", form.one - form.sqrt_half, "bits of 1 - bits of sqrt(1/2)")
    fraction = asm.integer_constant("fraction", (1 << form.fraction_bits) - 1, "the fraction's bits")
    integers = float(1 << form.fraction_bits)  # in its binade a float's fraction is an integer
    asm.comment("log x = k ln 2 + log(1 + f): x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)")
    with temporaries(asm, "k", "NaN or 0", "k ln2_low") as (k, not_a_number, k_low):
        v.sub(not_a_number, x, x)
        asm.note("0; NaN where x is NaN or infinite")
        v.integer_add(x, x, to_one)
        asm.note("bits moved up: the exponent changes at sqrt(1/2)")
        v.shift_right(k, x, form.fraction_bits)
        asm.note("k + bias, as an integer")
        v.or_(k, k, asm.vector_constant("integers", integers, f"2^{form.fraction_bits}"))
        asm.note(f"2^{form.fraction_bits} + k + bias, as a number")
        v.sub(k, k, asm.vector_constant("integers_biased", integers + form.bias, f"2^{form.fraction_bits} + bias"))
        asm.note("k")
        v.and_(x, x, fraction)
        asm.note("the fraction, above sqrt(1/2)")
        v.integer_add(x, x, asm.integer_constant("sqrt_half", form.sqrt_half, "sqrt(1/2)"))
        asm.note("1 + f")
        v.sub(x, x, asm.vector_constant("one", 1.0))
        asm.note("f")
        v.mul(k_low, k, asm.vector_constant("ln2_low", form.ln2_low))
        asm.note("k ln2_low")
        _log1p(asm, x, polynomials.LOG[asm.dtype], "log", "sqrt(1/2) <= 1 + f <= sqrt(2)", k_low)
        v.fma(x, k, asm.vector_constant("ln2_high", form.ln2_high))
        asm.note("+ k ln2_high")
        v.add(x, x, not_a_number)
        asm.note("log x, or NaN")


def over_one_plus(asm: Assembler, x: Any, low: Any = None) -> None:
    """x = (x + low) / (1 + x + low) for -1/2 <= x <= 1 and low below an ulp of x (None: 0). Overwrites low.

    With d = fl(1 + x), what the denominator lost is lost = x - (d - 1) + low, exactly; the quotient y = x / d is put
    right by (low - y lost) / d, where 1 / d = 1 - y.
    """
    v = asm.v
    one = asm.vector_constant("one", 1.0)
    asm.comment("y = x / d, d = 1 + x, put right by what d lost")
    with temporaries(asm, "d = fl(1 + x)", "1 - y", "lost of d") as (d, rest, lost):
        v.add(d, x, one)
        asm.note("d = 1 + x, rounded")
        v.sub(rest, d, one)
        asm.note("d - 1")
        v.sub(lost, x, rest)
        asm.note("lost = x - (d - 1), exact")
        v.div(x, x, d)
        asm.note("y = x / d")
        v.load(rest, one)
        v.sub(rest, rest, x)
        asm.note("1 - y, which is 1 / d")
        if low is None:
            v.mul(lost, lost, x)
            asm.note("y lost")
            v.fnma(x, lost, rest)
            asm.note("y - y lost / d")
        else:
            v.add(lost, lost, low)
            asm.note("lost + low, low being lost of x")
            v.fnma(low, lost, x)
            asm.note("low - y lost")
            v.fma(x, low, rest)
            asm.note("y + (low - y lost) / d")


def horner(
    asm: Assembler, dst: Any, x: Any, coefficients: Sequence[float], name: str, value_name: str, x_name: str
) -> None:
    """dst = the polynomial in x, coefficients highest power first.

    value_name, x_name: `E(r)` and `r`, for the notes.
    """
    highest = len(coefficients) - 1
    for i, value in enumerate(coefficients):
        constant = asm.vector_constant(f"{name}_c{highest - i}", value)
        if i == 0:
            asm.v.load(dst, constant)
            asm.note(f"{value_name} by Horner's scheme: c{highest}")
        else:
            asm.v.mul_add(dst, x, constant)
            asm.note(f"* {x_name} + c{highest - i}" + (f" = {value_name}" if i == highest else ""))


@contextmanager
def temporaries(asm: Assembler, *names: str) -> Iterator[list[Any]]:
    """Vector registers for the length of a block."""
    registers = [asm.vec.alloc(name) for name in names]
    yield registers
    asm.vec.free(*registers)


def _exp_parts(asm: Assembler, x: Any, scale: Any, q: Any, low: Any = None) -> None:
    """e^(x + low) = scale * (2 + q): scale = 2^(n-1), q = 2(e^r - 1), x clamped to where that holds. Overwrites x.

    n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2)/2. Adding 1.5 * 2^fraction_bits rounds x / ln 2 to an integer and
    leaves it in the lowest bits; with the bias already in that sum, a shift makes them the exponent field of
    2^(n-1). n-1, not n, so that the largest results do not need 2^128.
    """
    v, form = asm.v, _FORMATS[asm.element_bytes]
    to_integer = asm.vector_constant("round", 1.5 * (1 << form.fraction_bits) + form.bias - 1, "rounds to an integer")
    asm.explain(
        "ln 2 = ln2_high + ln2_low: ln2_high has so few bits that n ln2_high is exact for every n",
        f"adding 1.5 * 2^{form.fraction_bits} rounds x / ln 2 to an integer in the lowest bits; with the bias - 1 in",
        "that sum, a shift makes them the exponent field of 2^(n-1): not 2^n, which overflows for the largest results",
        f"e^r = 1 + r + r^2 E(r) for |r| <= ln(2)/2, E of degree {len(polynomials.EXP[asm.dtype]) - 1} fitted there:",
        "exp_c0 (1/2!), exp_c1 (1/3!), ... (docs/math.md)",
    )
    asm.comment("e^x = 2^n e^r: n = round(x / ln 2), r = x - n ln 2 and what its rounding loses")
    with temporaries(asm, "n, then n ln2_low", "r", "2 (lost of r)") as (n, r, lost):
        v.load(q, asm.vector_constant("exp_low", form.exp_low))
        v.max(q, q, x)
        asm.note("below, e^x is flushed to 0")
        v.load(r, asm.vector_constant("exp_high", form.exp_high))
        v.min(r, r, q)
        asm.note("x, clamped; above, e^x is infinite")
        v.load(scale, to_integer)
        v.fma(scale, r, asm.vector_constant("log2e", 1 / math.log(2)))
        asm.note("x / ln 2, rounded to an integer in the lowest bits")
        v.sub(n, scale, to_integer)
        asm.note("n")
        v.shift_left(scale, scale, form.fraction_bits)
        asm.note("2^(n-1)")
        v.fnma(r, n, asm.vector_constant("ln2_high", form.ln2_high))
        asm.note("h = x - n ln2_high")
        v.mul(n, n, asm.vector_constant("ln2_low", form.ln2_low))
        asm.note("n ln2_low")
        if low is not None:
            v.sub(n, n, low)
            asm.note("n ln2_low - low, which stands for n ln2_low below")
        v.mov(lost, r)
        asm.note("h")
        v.sub(r, r, n)
        asm.note("r = h - n ln2_low, rounded")
        v.sub(lost, lost, r)
        asm.note("h - r")
        v.sub(lost, lost, n)
        asm.note("lost = (h - r) - n ln2_low")
        v.add(lost, lost, lost)
        asm.note("2 lost")
        horner(asm, q, r, polynomials.EXP[asm.dtype], "exp", "E(r)", "r")
        v.add(x, r, r)
        asm.note("2r")
        v.mul(q, q, x)
        asm.note("2r E(r)")
        v.mul_add(q, r, lost)
        asm.note("2r E(r) r + 2 lost")
        v.add(q, q, x)
        asm.note("2 (e^r - 1) = 2r + (2r E(r) r + 2 lost)")


def _log1p(asm: Assembler, f: Any, coefficients: Sequence[float], name: str, extent: str, plus: Any = None) -> None:
    """f = log(1 + f) + plus = f - (s (f - z L(z)) - plus) with s = f / (2 + f), z = s^2.

    extent: of f, for the notes.
    """
    v = asm.v
    asm.explain(
        f"L is a polynomial of degree {len(coefficients) - 1}, fitted to {extent}:",
        f"{name}_c0 (2/3), {name}_c1 (2/5), ... (docs/math.md)",
    )
    asm.comment("log(1 + f) = f - s (f - z L(z)), s = f / (2 + f), z = s^2")
    with temporaries(asm, "s", "z = s^2", "z L(z)") as (s, z, series):
        v.add(z, f, asm.vector_constant("two", 2.0))
        asm.note("2 + f")
        v.div(s, f, z)
        asm.note("s = f / (2 + f)")
        v.mul(z, s, s)
        asm.note("z = s^2")
        horner(asm, series, z, coefficients, name, "L(z)", "z")
        v.mul(series, series, z)
        asm.note("z L(z)")
        v.sub(z, f, series)
        asm.note("f - z L(z)")
        v.mul(z, z, s)
        asm.note("s (f - z L(z))")
        if plus is not None:
            v.sub(z, z, plus)
            asm.note("s (f - z L(z)) - k ln2_low")
        v.sub(f, f, z)
        asm.note("log(1 + f)" if plus is None else "log(1 + f) + k ln2_low")
