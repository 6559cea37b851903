"""The code of activations: as passes of their own (elementwise/act.py) and behind convolutions and dense layers.

A kind is an entry of CODES; what else is known of it: asmgen/plan/specs/activations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common import polynomials, transcendental
from asmgen.plan.specs import Activation, entry_of

Forward = Callable[[Any, Any], None]
Backward = Callable[[Any, Any, Any], None]


@dataclass(frozen=True)
class Code:
    """An activation's texts and instructions.

    forward: f of `x`, as a formula; backward: dx, of dy and what f' is seen from; {alpha} stands for its value. call: f
    of {}, short. open_forward(asm, act, in_loop): takes registers and loads constants; what it returns adds y = f(x) to
    the assembler: y a register, x memory. Not in_loop, it takes no registers, and x is a register that may be
    overwritten: the same width as y, maybe not a whole vector. open_backward(asm, act): the same for
    dx = dy * f'(saved): dx a register, dy and saved memory. unroll, backward_unroll: vectors per trip of a loop.
    """

    forward: str
    call: str
    backward: str
    open_forward: Callable[[Assembler, Activation, bool], Forward]
    open_backward: Callable[[Assembler, Activation], Backward]
    unroll: int = 4
    backward_unroll: int = 4


def code_of(act: Activation) -> Code:
    """Raises ValueError for a kind without code."""
    return entry_of(CODES, act.kind, "code for a CPU")


def call(act: Activation, value: str) -> str:
    """f(value) as kernels' headers write it; without an activation the value itself."""
    return code_of(act).call.format(value, alpha=act.alpha) if act else value


def activated(asm: Assembler, act: Activation, value: Any, spare: Any) -> Any:
    """The register that holds f(value): value or spare; a NaN stays one. Overwrites both."""
    if not act:
        return value
    code_of(act).open_forward(asm, act, False)(spare, value)
    return spare


# max(0, x), and the same with a slope below zero ----------------------------------------------------------------------


def _relu(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    v = asm.v
    zero = asm.vec.alloc("zero") if in_loop else None
    if in_loop:
        v.zero(zero)

    def apply(y: Any, x: Any) -> None:
        if not in_loop:
            v.zero(y)
        v.max(y, zero if in_loop else y, x)  # its last operand where that is NaN

    return apply


def _leaky_relu(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    v, alpha = asm.v, asm.vector_constant("alpha", act.alpha)
    value = None
    if in_loop:
        constant, alpha, value = alpha, asm.vec.alloc("alpha"), asm.vec.alloc("x")
        v.load(alpha, constant)
    larger_or_smaller = v.max if act.alpha <= 1 else v.min  # of x and alpha x

    def apply(y: Any, x: Any) -> None:
        if in_loop:
            v.load(value, x)
            x = value
        v.mul(y, x, alpha)
        larger_or_smaller(y, y, x)

    return apply


def _relu6(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    v, six = asm.v, asm.vector_constant("six", 6.0)
    if in_loop:
        zero, limit, value = asm.vec.alloc("zero"), asm.vec.alloc("six"), asm.vec.alloc("min(x, 6)")
        v.zero(zero)
        v.load(limit, six)

    def apply(y: Any, x: Any) -> None:
        if in_loop:
            v.min(value, limit, x)  # its last operand where that is NaN
            v.max(y, zero, value)
            return
        v.load(y, six)
        v.min(y, y, x)
        v.zero(x)
        v.max(x, x, y)
        v.mov(y, x)

    return apply


def _relu_backward(asm: Assembler, act: Activation) -> Backward:
    return _gate(asm, None)


def _relu6_backward(asm: Assembler, act: Activation) -> Backward:
    """dx = 0 < y && y < 6 ? dy : 0."""
    v, six = asm.v, asm.vector_constant("six", 6.0)
    zero, value = asm.vec.alloc("zero"), asm.vec.alloc("y")
    positive, below = v.mask_alloc("y > 0"), v.mask_alloc("y < 6")
    v.zero(zero)

    def apply(dx: Any, dy: Any, y: Any) -> None:
        v.load(value, y)
        v.less(positive, zero, value)
        v.less(below, value, six)
        v.load(dx, dy)
        v.keep(dx, positive, dx)
        v.keep(dx, below, dx)

    return apply


def _leaky_relu_backward(asm: Assembler, act: Activation) -> Backward:
    return _gate(asm, act.alpha)


def _gate(asm: Assembler, below: float | None) -> Backward:
    """dx = y > 0 ? dy : below * dy; None: zero."""
    v = asm.v
    zero, value, positive = asm.vec.alloc("zero"), asm.vec.alloc("dy"), v.mask_alloc("y > 0")
    v.zero(zero)
    alpha = None
    if below is not None:
        alpha = asm.vec.alloc("alpha")
        v.load(alpha, asm.vector_constant("alpha", below))

    def apply(dx: Any, dy: Any, y: Any) -> None:
        v.load(value, dy)
        v.less(positive, zero, y)
        if alpha is None:
            v.keep(dx, positive, value)
        else:
            v.mul(dx, value, alpha)
            v.select(dx, positive, value, dx)

    return apply


def gate(asm: Assembler, act: Activation, spare: Any) -> Callable[[Any, Any], None]:
    """Of a gate: what it returns adds dz = y > 0 ? dz : slope * dz to the assembler, both registers; spare: one more.

    Takes a register for zero and one for a mask. Raises ValueError for an activation that is no gate.
    """
    if not act.traits.is_gate:
        raise ValueError(f"activation {act.kind!r} is not a gate")
    v = asm.v
    zero, positive = asm.vec.alloc("zero"), v.mask_alloc("y > 0")
    v.zero(zero)
    alpha = asm.vector_constant("alpha", act.alpha) if act.alpha else None

    def apply(dz: Any, y: Any) -> None:
        v.less(positive, zero, y)
        if alpha is None:
            v.keep(dz, positive, dz)
        else:
            v.mul(spare, dz, alpha)
            v.select(dz, positive, dz, spare)

    return apply


# factor x -------------------------------------------------------------------------------------------------------------


def _scale(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    v, factor = asm.v, asm.vector_constant("factor", act.alpha)
    register = asm.vec.alloc("factor") if in_loop else None
    if in_loop:
        v.load(register, factor)

    def apply(y: Any, x: Any) -> None:
        if in_loop:
            v.mul(y, register, x)
        else:
            v.mul(y, x, factor)

    return apply


def _scale_backward(asm: Assembler, act: Activation) -> Backward:
    scale = _scale(asm, act, True)

    def apply(dx: Any, dy: Any, y: Any) -> None:
        scale(dx, dy)

    return apply


# x min(max(x + 3, 0), 6) / 6 ------------------------------------------------------------------------------------------


def _hard_swish(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, hard_swish)


def hard_swish(asm: Assembler, x: Any) -> None:
    """x = c min(c + 3, 6) / 6, c = max(x, -3): c + 3 is exact near -3; x itself from 3 up."""
    v = asm.v
    asm.comment("x min(max(x + 3, 0), 6) / 6 = c min(c + 3, 6) / 6, c = max(x, -3)")
    with transcendental.temporaries(asm, "c", "c + 3") as (c, sum_):
        v.load(c, asm.vector_constant("minus_three", -3.0))
        v.max(c, c, x)
        asm.note("c")
        v.add(sum_, c, asm.vector_constant("three", 3.0))
        asm.note("c + 3")
        v.load(x, asm.vector_constant("six", 6.0))
        v.min(x, x, sum_)
        v.mul(x, x, asm.vector_constant("sixth", 1 / 6))
        asm.note("min(c + 3, 6) / 6")
        v.mul(x, x, c)
        asm.note("y")


def _hard_swish_backward(asm: Assembler, act: Activation) -> Backward:
    """dx = x <= -3 ? 0 : x >= 3 ? dy : dy * (x / 3 + 1/2)."""
    v = asm.v
    value, slope = asm.vec.alloc("x"), asm.vec.alloc("slope")
    low, is_inside, is_above = asm.vec.alloc("-3"), v.mask_alloc("x < 3"), v.mask_alloc("-3 < x")
    v.load(low, asm.vector_constant("minus_three", -3.0))
    third, half, one = (asm.vector_constant(*each) for each in (("third", 1 / 3), ("half", 0.5), ("one", 1.0)))

    def apply(dx: Any, dy: Any, x: Any) -> None:
        v.load(value, x)
        v.less(is_inside, value, asm.vector_constant("three", 3.0))
        v.less(is_above, low, value)
        v.mul(slope, value, third)
        v.add(slope, slope, half)
        v.load(value, one)
        v.select(slope, is_inside, slope, value)
        v.mul(slope, slope, dy)
        v.keep(dx, is_above, slope)

    return apply


# x, alpha (e^x - 1) below zero ----------------------------------------------------------------------------------------


def _elu(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, lambda asm, x: elu(asm, x, act.alpha))


def elu(asm: Assembler, x: Any, alpha: float) -> None:
    """x = max(x, 0) + alpha (e^min(x, 0) - 1): one of the terms is 0."""
    v = asm.v
    asm.comment("max(x, 0) + alpha (e^min(x, 0) - 1)")
    with transcendental.temporaries(asm, "max(x, 0)", "min(x, 0)") as (y, below):
        v.zero(y)
        v.min(below, y, x)
        asm.note("min(x, 0)")
        v.max(y, y, x)
        asm.note("max(x, 0)")
        transcendental.expm1(asm, below)
        v.fma(y, below, asm.vector_constant("alpha", alpha))
        v.mov(x, y)


def _elu_backward(asm: Assembler, act: Activation) -> Backward:
    """dx = y > 0 ? dy : dy * (y + alpha)."""
    v = asm.v
    zero, one, value, positive = *(asm.vec.alloc(name) for name in ("zero", "one", "y")), v.mask_alloc("y > 0")
    v.zero(zero)
    v.load(one, asm.vector_constant("one", 1.0))
    alpha = asm.vector_constant("alpha", act.alpha)

    def apply(dx: Any, dy: Any, y: Any) -> None:
        v.load(value, y)
        v.less(positive, zero, value)
        v.add(value, value, alpha)
        v.select(value, positive, one, value)
        v.mul(dx, value, dy)

    return apply


# 1 / (1 + e^-x), tanh x -----------------------------------------------------------------------------------------------


def _sigmoid(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, transcendental.sigmoid)


def _tanh(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, transcendental.tanh)


def _in_place(asm: Assembler, function: Callable[[Assembler, Any], None]) -> Forward:
    """From a function that overwrites its argument, a whole vector, and takes registers for its own length."""

    def apply(y: Any, x: Any) -> None:
        asm.v.load(y, x)
        function(asm, y)

    return apply


def _sigmoid_backward(asm: Assembler, act: Activation) -> Backward:
    return _logistic(asm, plus=False)


def _tanh_backward(asm: Assembler, act: Activation) -> Backward:
    return _logistic(asm, plus=True)


def _logistic(asm: Assembler, *, plus: bool) -> Backward:
    """dx = dy * (1 - y) * (plus ? 1 + y : y)."""
    v = asm.v
    one, value = asm.vec.alloc("one"), asm.vec.alloc("y")
    v.load(one, asm.vector_constant("one", 1.0))

    def apply(dx: Any, dy: Any, y: Any) -> None:
        v.load(value, y)
        v.sub(dx, one, value)
        if plus:
            v.add(value, value, one)
        v.mul(dx, dx, value)
        v.mul(dx, dx, dy)

    return apply


# x Phi(x) -------------------------------------------------------------------------------------------------------------


def _gelu(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, gelu)


def _gelu_backward(asm: Assembler, act: Activation) -> Backward:
    return _times_slope(asm, gelu_slope)


def gelu(asm: Assembler, x: Any) -> None:
    """x = x Phi(x) = max(x, 0) - a Phi(-a), a = |x|: no cancellation. Zero where e^(-x^2 / 2) is flushed to zero."""
    v = asm.v
    asm.comment("x Phi(x) = max(x, 0) - a Phi(-a), a = |x|")
    with transcendental.temporaries(asm, "max(x, 0)", "|x|", "u", "P(t)") as (y, a, u, p):
        v.zero(y)
        v.max(y, y, x)
        asm.note("max(x, 0)")
        _normal_tail(asm, x, a, u, p)
        v.mul(u, u, p)
        asm.note("u P(t) = a P(t) / (a + 5)")
        v.fnma(y, u, x)
        asm.note("max(x, 0) - a Phi(-a)")
        v.mov(x, y)


def gelu_slope(asm: Assembler, x: Any) -> None:
    """x = Phi(x) + x phi(x): d = Phi(-a) - a phi(a) for negative x, 1 - d for positive, a = |x|."""
    v = asm.v
    asm.comment("Phi(x) + x phi(x): d = Phi(-a) - a phi(a), a = |x|; d where x < 0, else 1 - d")
    with (
        transcendental.temporaries(asm, "|x|", "u", "P(t)", "1 - u, 1 - d") as (a, u, p, rest),
        _negative(asm, x) as is_negative,
    ):
        _normal_tail(asm, x, a, u, p)
        v.load(rest, asm.vector_constant("one", 1.0))
        v.sub(rest, rest, u)
        asm.note("1 - u = 5 / (a + 5)")
        v.mul(p, p, rest)
        v.mul(p, p, asm.vector_constant("fifth", 0.2))
        asm.note("P(t) / (a + 5)")
        v.fnma(p, a, asm.vector_constant("inv_sqrt_2pi", 0.3989422804014327))
        asm.note("- a / sqrt(2 pi)")
        v.mul(x, x, p)
        asm.note("d")
        _mirrored(asm, x, is_negative, rest)


def _normal_tail(asm: Assembler, x: Any, a: Any, u: Any, p: Any) -> None:
    """a = min(|x|, 39), u = a / (a + 5), p = P(2u - 1), x = e^(-a^2 / 2); Phi(-a) = x p / (a + 5) (docs/math.md)."""
    v, coefficients = asm.v, polynomials.NORMAL_TAIL[asm.dtype]
    asm.explain(
        "Phi(-a) = e^(-a^2/2) P(t) / (a + 5), t = (a - 5) / (a + 5) = 2u - 1, u = a / (a + 5):",
        f"P is a polynomial of degree {len(coefficients) - 1} fitted to 0 <= a <= 39, where e^(-a^2/2) is 0",
    )
    asm.comment("P(t), t = 2u - 1, u = a / (a + 5)")
    _magnitude_up_to(asm, a, x, 39.0)
    v.add(p, a, asm.vector_constant("five", 5.0))
    v.div(u, a, p)
    asm.note("u = a / (a + 5)")
    v.add(x, u, u)
    v.sub(x, x, asm.vector_constant("one", 1.0))
    asm.note("t = 2u - 1")
    transcendental.horner(asm, p, x, coefficients, "normal_tail", "P(t)", "t")
    with transcendental.temporaries(asm, "lost of a^2") as (lost,):
        _square(asm, x, lost, a)
        v.mul(x, x, asm.vector_constant("minus_half", -0.5))
        asm.note("-a^2 / 2, rounded")
        v.mul(lost, lost, asm.vector_constant("half", 0.5))
        asm.note("and what it lost")
        transcendental.exp(asm, x, lost)


def _square(asm: Assembler, square: Any, lost: Any, a: Any) -> None:
    """square = a^2, rounded; lost = square - a^2, which without FMA the upper half of a's fraction tells."""
    v = asm.v
    asm.comment("a^2, and what its rounding loses")
    v.mul(square, a, a)
    asm.note("s = a^2, rounded")
    v.mov(lost, square)
    if asm.isa.has_fma:
        v.fnma(lost, a, a)
        asm.note("lost = s - a^2, exact")
        return
    bits, low_bits = 8 * asm.element_bytes, {4: 12, 8: 27}[asm.element_bytes]
    upper = asm.integer_constant("upper", (1 << bits) - (1 << low_bits), "sign, exponent and half of the fraction")
    with transcendental.temporaries(asm, "upper half of a", "lower half of a", "their product") as (high, low, product):
        v.mov(high, a)
        v.and_(high, high, upper)
        asm.note("h: its square is exact")
        v.sub(low, a, high)
        asm.note("a - h, exact")
        v.mul(product, high, high)
        v.sub(lost, lost, product)
        asm.note("s - h^2, exact")
        v.add(high, high, a)
        v.mul(low, low, high)
        asm.note("(a - h) (a + h)")
        v.sub(lost, lost, low)
        asm.note("lost = s - a^2")


# x / (1 + e^-x) -------------------------------------------------------------------------------------------------------


def _silu(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, silu)


def _silu_backward(asm: Assembler, act: Activation) -> Backward:
    return _times_slope(asm, silu_slope)


def silu(asm: Assembler, x: Any) -> None:
    """x = x s(x) = max(x, 0) - a s(-a), a = |x|, s the sigmoid: no cancellation. Zero where e^-a is flushed to zero."""
    v = asm.v
    asm.comment("x s(x) = max(x, 0) - a s(-a), a = |x|, s(-a) = e^-a / (1 + e^-a)")
    with transcendental.temporaries(asm, "max(x, 0)", "|x|") as (y, a):
        v.zero(y)
        v.max(y, y, x)
        asm.note("max(x, 0)")
        _sigmoid_tail(asm, x, a)
        v.fnma(y, a, x)
        asm.note("max(x, 0) - a s(-a)")
        v.mov(x, y)


def silu_slope(asm: Assembler, x: Any) -> None:
    """x = s + x s (1 - s), s = s(x): d = q (1 - a (1 - q)), q = s(-a), for negative x, 1 - d for positive, a = |x|."""
    v = asm.v
    one = asm.vector_constant("one", 1.0)
    asm.comment("s + x s (1 - s): q = s(-a), d = q (1 - a (1 - q)), a = |x|; d where x < 0, else 1 - d")
    with (
        transcendental.temporaries(asm, "|x|", "1 - q", "1 - a (1 - q), 1 - d") as (a, p, rest),
        _negative(asm, x) as is_negative,
    ):
        _sigmoid_tail(asm, x, a)
        v.load(p, one)
        v.sub(p, p, x)
        asm.note("1 - q")
        v.load(rest, one)
        v.fnma(rest, a, p)
        asm.note("1 - a (1 - q)")
        v.mul(x, x, rest)
        asm.note("d")
        _mirrored(asm, x, is_negative, rest)


def _sigmoid_tail(asm: Assembler, x: Any, a: Any) -> None:
    """a = min(|x|, 750), x = e^-a / (1 + e^-a)."""
    _magnitude_up_to(asm, a, x, 750.0)
    asm.v.mov(x, a)
    asm.v.or_(x, x, transcendental.sign_bit(asm))
    asm.note("-a")
    transcendental.exp(asm, x)
    transcendental.over_one_plus(asm, x)


# functions of |x| that the sign of x mirrors --------------------------------------------------------------------------


def _times_slope(asm: Assembler, slope: Callable[[Assembler, Any], None]) -> Backward:
    """dx = dy * f'(x), from a function that turns x, a whole vector, into f'(x)."""

    def apply(dx: Any, dy: Any, x: Any) -> None:
        asm.v.load(dx, x)
        slope(asm, dx)
        asm.v.mul(dx, dx, dy)

    return apply


def _magnitude_up_to(asm: Assembler, a: Any, x: Any, limit: float) -> None:
    """a = min(|x|, limit), so that infinity times zero does not arise; NaN stays NaN. Overwrites x."""
    v = asm.v
    v.and_(x, x, asm.integer_constant("magnitude", (1 << 8 * asm.element_bytes - 1) - 1, "all but the sign bit"))
    v.load(a, asm.vector_constant("limit", limit))
    v.min(a, a, x)
    asm.note(f"a = min(|x|, {limit:g})")


@contextmanager
def _negative(asm: Assembler, x: Any) -> Iterator[Any]:
    """A mask, x < 0, for the length of a block."""
    mask = asm.v.mask_alloc("x < 0")
    asm.v.less(mask, x, asm.vector_constant("zero", 0.0))
    asm.note("x < 0")
    yield mask
    asm.v.mask_free(mask)


def _mirrored(asm: Assembler, d: Any, is_negative: Any, other: Any) -> None:
    """d = is_negative ? d : 1 - d. Overwrites other."""
    v = asm.v
    v.load(other, asm.vector_constant("one", 1.0))
    v.sub(other, other, d)
    asm.note("1 - d")
    v.select(d, is_negative, d, other)
    asm.note("x < 0 ? d : 1 - d")


#: By kind.
CODES: dict[str, Code] = {
    "relu": Code("max(0, x)", "max(0, {})", "y > 0 ? dy : 0", _relu, _relu_backward),
    "leaky_relu": Code(
        "x > 0 ? x : {alpha} * x",
        "leaky_relu({}, {alpha})",
        "y > 0 ? dy : {alpha} * dy",
        _leaky_relu,
        _leaky_relu_backward,
    ),
    "relu6": Code("min(max(0, x), 6)", "relu6({})", "0 < y < 6 ? dy : 0", _relu6, _relu6_backward),
    "scale": Code("{alpha} * x", "{alpha} * {}", "{alpha} * dy", _scale, _scale_backward),
    "hard_swish": Code(
        "x * min(max(x + 3, 0), 6) / 6",
        "hard_swish({})",
        "x <= -3 ? 0 : x >= 3 ? dy : dy * (x / 3 + 1/2)",
        _hard_swish,
        _hard_swish_backward,
    ),
    "elu": Code(
        "x > 0 ? x : {alpha} * (e^x - 1)",
        "elu({}, {alpha})",
        "y > 0 ? dy : dy * (y + {alpha})",
        _elu,
        _elu_backward,
        unroll=1,
    ),
    "sigmoid": Code("1 / (1 + e^-x)", "sigmoid({})", "dy * y * (1 - y)", _sigmoid, _sigmoid_backward, unroll=1),
    "tanh": Code("tanh x", "tanh({})", "dy * (1 - y) * (1 + y)", _tanh, _tanh_backward, unroll=1),
    "gelu": Code(
        "x Phi(x)", "gelu({})", "dy * (Phi(x) + x phi(x))", _gelu, _gelu_backward, unroll=1, backward_unroll=1
    ),
    "silu": Code(
        "x / (1 + e^-x)",
        "silu({})",
        "dy * (s + x s (1 - s)), s = 1 / (1 + e^-x)",
        _silu,
        _silu_backward,
        unroll=1,
        backward_unroll=1,
    ),
}
