"""exp, log, sigmoid, tanh and softplus of a vector register, in place, as instructions added to an open Assembler.

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
from asmgen.kernels import polynomials


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


def exp(asm: Assembler, x: Any) -> None:
    """x = e^x. Zero below 2^-125.5 (float64: 2^-1021.5), infinity above the range."""
    with _temporaries(asm, "2^(n-1)", "2(e^r - 1)") as (scale, q):
        _exp_parts(asm, x, scale, q)
        asm.v.add(x, q, asm.vector_constant("two", 2.0))
        asm.v.mul(x, x, scale)


def sigmoid(asm: Assembler, x: Any) -> None:
    """x = 1 / (1 + e^-x): y = e^-|x| / (1 + e^-|x|) for negative x, 1 - y for positive."""
    v = asm.v
    is_negative = v.mask_alloc("x < 0")
    asm.comment("sigmoid: e = e^-|x|, y = e / (1 + e); y where x < 0, else 1 - y")
    v.less(is_negative, x, asm.vector_constant("zero", 0.0))
    v.or_(x, x, sign_bit(asm))
    exp(asm, x)
    _over_one_plus(asm, x)
    with _temporaries(asm, "1 - y") as (other,):
        v.load(other, asm.vector_constant("one", 1.0))
        v.sub(other, other, x)
        v.select(x, is_negative, x, other)
    v.mask_free(is_negative)


def tanh(asm: Assembler, x: Any) -> None:
    """x = tanh x = -m / (1 + m) with m = (e^-2|x| - 1) / 2, and the sign of x.

    m = (2^(n-1) - 1/2) + 2^(n-1) (e^r - 1) has no cancellation: for small x, n = 0 and m = (e^r - 1) / 2 comes from
    the polynomial.
    """
    v = asm.v
    half = asm.vector_constant("half", 0.5)
    asm.comment("tanh: m = (e^-2|x| - 1) / 2, |y| = -m / (1 + m), sign of x")
    with _temporaries(asm, "sign", "2^(n-1)", "2(e^r - 1)") as (sign, scale, q):
        v.mov(sign, x)
        v.and_(sign, sign, sign_bit(asm))
        v.or_(x, x, sign_bit(asm))
        v.add(x, x, x)
        _exp_parts(asm, x, scale, q)
        v.mul(q, q, half)
        v.mul(q, q, scale)
        v.sub(scale, scale, half)
        v.add(x, q, scale)
        asm.note("m; q becomes what this sum loses")
        v.sub(scale, scale, x)
        v.add(q, q, scale)
        _over_one_plus(asm, x, q)
        v.and_(x, x, asm.integer_constant("magnitude", (1 << 8 * asm.element_bytes - 1) - 1, "all but the sign bit"))
        v.or_(x, x, sign)


def softplus(asm: Assembler, x: Any) -> None:
    """x = log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    v = asm.v
    asm.comment("log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)")
    with _temporaries(asm, "max(x, 0)") as (positive,):
        v.zero(positive)
        v.max(positive, positive, x)
        v.or_(x, x, sign_bit(asm))
        exp(asm, x)
        _log1p(asm, x, polynomials.LOG1P[asm.dtype], "log1p")
        v.add(x, x, positive)


def log(asm: Assembler, x: Any) -> None:
    """x = log x for positive normal numbers; infinity gives NaN."""
    v, form = asm.v, _FORMATS[asm.element_bytes]
    # x = 2^k m with sqrt(1/2) <= m < sqrt(2): move the bits up so that the exponent field changes at sqrt(1/2)
    to_one = asm.integer_constant("one_less_sqrt_half", form.one - form.sqrt_half, "bits of 1 - bits of sqrt(1/2)")
    fraction = asm.integer_constant("fraction", (1 << form.fraction_bits) - 1, "the fraction's bits")
    integers = float(1 << form.fraction_bits)  # in its binade a float's fraction is an integer
    asm.comment("log x = k ln 2 + log(1 + f): x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)")
    with _temporaries(asm, "k", "NaN or 0", "k ln2_low") as (k, not_a_number, k_low):
        v.sub(not_a_number, x, x)
        v.integer_add(x, x, to_one)
        v.shift_right(k, x, form.fraction_bits)
        v.or_(k, k, asm.vector_constant("integers", integers, f"2^{form.fraction_bits}"))
        v.sub(k, k, asm.vector_constant("integers_biased", integers + form.bias, f"2^{form.fraction_bits} + bias"))
        v.and_(x, x, fraction)
        v.integer_add(x, x, asm.integer_constant("sqrt_half", form.sqrt_half, "sqrt(1/2)"))
        v.sub(x, x, asm.vector_constant("one", 1.0))
        asm.note("f")
        v.mul(k_low, k, asm.vector_constant("ln2_low", form.ln2_low))
        _log1p(asm, x, polynomials.LOG[asm.dtype], "log", k_low)
        v.fma(x, k, asm.vector_constant("ln2_high", form.ln2_high))
        v.add(x, x, not_a_number)


def _exp_parts(asm: Assembler, x: Any, scale: Any, q: Any) -> None:
    """e^x = scale * (2 + q): scale = 2^(n-1), q = 2(e^r - 1), x clamped to where that holds. Overwrites x.

    n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2)/2. Adding 1.5 * 2^fraction_bits rounds x / ln 2 to an integer and
    leaves it in the lowest bits; with the bias already in that sum, a shift makes them the exponent field of
    2^(n-1). n-1, not n, so that the largest results do not need 2^128.
    """
    v, form = asm.v, _FORMATS[asm.element_bytes]
    to_integer = asm.vector_constant("round", 1.5 * (1 << form.fraction_bits) + form.bias - 1, "rounds to an integer")
    asm.comment("e^x = 2^n e^r: n = round(x / ln 2), r = x - n ln 2 and what its rounding loses")
    with _temporaries(asm, "n, then n ln2_low", "r", "2 (lost of r)") as (n, r, lost):
        v.load(q, asm.vector_constant("exp_low", form.exp_low))
        v.max(q, q, x)
        v.load(r, asm.vector_constant("exp_high", form.exp_high))
        v.min(r, r, q)
        v.load(scale, to_integer)
        v.fma(scale, r, asm.vector_constant("log2e", 1 / math.log(2)))
        v.sub(n, scale, to_integer)
        v.shift_left(scale, scale, form.fraction_bits)
        asm.note("2^(n-1)")
        v.fnma(r, n, asm.vector_constant("ln2_high", form.ln2_high))
        v.mul(n, n, asm.vector_constant("ln2_low", form.ln2_low))
        v.mov(lost, r)
        v.sub(r, r, n)
        v.sub(lost, lost, r)
        v.sub(lost, lost, n)
        v.add(lost, lost, lost)
        _horner(asm, q, r, polynomials.EXP[asm.dtype], "exp")
        v.add(x, r, r)
        v.mul(q, q, x)
        v.mul_add(q, r, lost)
        v.add(q, q, x)
        asm.note("2 (e^r - 1) = 2r + (2r E(r) r + 2 lost)")


def _over_one_plus(asm: Assembler, x: Any, low: Any = None) -> None:
    """x = (x + low) / (1 + x + low) for -1/2 <= x <= 1 and low below an ulp of x (None: 0). Overwrites low.

    With d = fl(1 + x), what the denominator lost is lost = x - (d - 1) + low, exactly; the quotient y = x / d is put
    right by (low - y lost) / d, where 1 / d = 1 - y.
    """
    v = asm.v
    one = asm.vector_constant("one", 1.0)
    asm.comment("y = x / d, d = 1 + x, put right by what d lost")
    with _temporaries(asm, "d = fl(1 + x)", "1 - y", "lost of d") as (d, rest, lost):
        v.add(d, x, one)
        v.sub(rest, d, one)
        v.sub(lost, x, rest)
        v.div(x, x, d)
        v.load(rest, one)
        v.sub(rest, rest, x)
        if low is None:
            v.mul(lost, lost, x)
            v.fnma(x, lost, rest)
        else:
            v.add(lost, lost, low)
            v.fnma(low, lost, x)
            v.fma(x, low, rest)


def _log1p(asm: Assembler, f: Any, coefficients: Sequence[float], name: str, plus: Any = None) -> None:
    """f = log(1 + f) + plus = f - (s (f - z L(z)) - plus) with s = f / (2 + f), z = s^2."""
    v = asm.v
    asm.comment("log(1 + f) = f - s (f - z L(z)), s = f / (2 + f), z = s^2")
    with _temporaries(asm, "s", "z = s^2", "z L(z)") as (s, z, series):
        v.add(z, f, asm.vector_constant("two", 2.0))
        v.div(s, f, z)
        v.mul(z, s, s)
        _horner(asm, series, z, coefficients, name)
        v.mul(series, series, z)
        v.sub(z, f, series)
        v.mul(z, z, s)
        if plus is not None:
            v.sub(z, z, plus)
        v.sub(f, f, z)


def _horner(asm: Assembler, dst: Any, x: Any, coefficients: Sequence[float], name: str) -> None:
    """dst = the polynomial in x, coefficients highest power first."""
    highest = len(coefficients) - 1
    for i, value in enumerate(coefficients):
        constant = asm.vector_constant(f"{name}_c{highest - i}", value)
        if i == 0:
            asm.v.load(dst, constant)
        else:
            asm.v.mul_add(dst, x, constant)


@contextmanager
def _temporaries(asm: Assembler, *names: str) -> Iterator[list[Any]]:
    """Vector registers for the length of a block."""
    registers = [asm.vec.alloc(name) for name in names]
    yield registers
    asm.vec.free(*registers)
