"""The code of activations: in passes of their own (act.py) and at the end of convolutions and dense layers.

A kind is an entry of CODES; what else is known of it: asmgen/plan/specs/activations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.kernels import math
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


def _relu_backward(asm: Assembler, act: Activation) -> Backward:
    return _gate(asm, None)


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


# 1 / (1 + e^-x), tanh x -----------------------------------------------------------------------------------------------


def _sigmoid(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, math.sigmoid)


def _tanh(asm: Assembler, act: Activation, in_loop: bool) -> Forward:
    return _in_place(asm, math.tanh)


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
    "sigmoid": Code("1 / (1 + e^-x)", "sigmoid({})", "dy * y * (1 - y)", _sigmoid, _sigmoid_backward, unroll=1),
    "tanh": Code("tanh x", "tanh({})", "dy * (1 - y) * (1 + y)", _tanh, _tanh_backward, unroll=1),
}
