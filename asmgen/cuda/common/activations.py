"""The CUDA code of activations: what templates put where an activation stands.

A kind is an entry of CODES; what else is known of it: asmgen/plan/specs/activations.py. Functions of more than an
expression are in runtime/cuda/math.cuh.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.specs import Activation, entry_of


@dataclass(frozen=True)
class Code:
    """An activation's texts. {alpha} stands for its value.

    forward: f of `x`, as a formula; backward: dx, of dy and what f' is seen from. value: the expression of f, of a
    variable {x} and {zero}, the constant. gradient: that of dy * f', of the variables {dy} and {saved} (x or y, as
    Traits.slope_from says) of type {T}. below: dy * f' where y <= 0, of a gate (Traits.is_gate), whose gradient it is.
    """

    forward: str
    backward: str
    value: str
    gradient: str = "{saved} > 0 ? {dy} : {below}"
    below: str = ""

    @property
    def uses_alpha(self) -> bool:
        return any("{alpha}" in text for text in (self.value, self.gradient, self.below))

    @property
    def reads_saved(self) -> bool:
        """Whether f' depends on what is saved."""
        return "{saved}" in self.gradient

    def f(self, x: str, alpha: str, zero: str = "0") -> str:
        """The C++ expression of f(x)."""
        return self.value.format(x=x, alpha=alpha, zero=zero)

    def dx(self, dy: str, saved: str, alpha: str, ctype: str) -> str:
        """The C++ expression of dy * f'."""
        return self.gradient.format(dy=dy, saved=saved, alpha=alpha, T=ctype, below=self.dx_below(dy, alpha))

    def dx_below(self, dy: str, alpha: str) -> str:
        """The C++ expression of dy * f' where y <= 0, of a gate."""
        return self.below.format(dy=dy, alpha=alpha)


#: By kind.
CODES: dict[str, Code] = {
    "none": Code("x", "dy", "{x}", "{dy}", "{dy}"),
    "relu": Code("max(0, x)", "y > 0 ? dy : 0", "{x} < {zero} ? {zero} : {x}", below="0"),
    "leaky_relu": Code(
        "x > 0 ? x : {alpha} * x",
        "y > 0 ? dy : {alpha} * dy",
        "{x} > {zero} ? {x} : {alpha} * {x}",
        below="{alpha} * {dy}",
    ),
    "relu6": Code(
        "min(max(0, x), 6)",
        "0 < y < 6 ? dy : 0",
        "{x} < {zero} ? {zero} : {x} > 6 ? 6 : {x}",
        "{saved} > 0 && {saved} < 6 ? {dy} : 0",
    ),
    "scale": Code("{alpha} * x", "{alpha} * dy", "{alpha} * {x}", "{alpha} * {dy}"),
    "hard_swish": Code(
        "x * min(max(x + 3, 0), 6) / 6",
        "x <= -3 ? 0 : x >= 3 ? dy : dy * (x / 3 + 1/2)",
        "{x} < -3 ? {zero} : {x} > 3 ? {x} : {x} * ({x} + 3) / 6",
        "{saved} <= -3 ? 0 : {saved} >= 3 ? {dy} : {dy} * ({saved} / 3 + {T}(0.5))",
    ),
    "elu": Code(
        "x > 0 ? x : {alpha} * (e^x - 1)",
        "y > 0 ? dy : dy * (y + {alpha})",
        "{x} > {zero} ? {x} : {alpha} * math::expm1({x})",
        "{saved} > 0 ? {dy} : {dy} * ({saved} + {alpha})",
    ),
    "sigmoid": Code("1 / (1 + e^-x)", "dy * y * (1 - y)", "math::sigmoid({x})", "{dy} * ({saved} * (1 - {saved}))"),
    "tanh": Code("tanh(x)", "dy * (1 - y^2)", "math::tanh({x})", "{dy} * fma(-{saved}, {saved}, {T}(1))"),
    "gelu": Code("x Phi(x)", "dy * (Phi(x) + x phi(x))", "math::gelu({x})", "{dy} * math::gelu_slope({saved})"),
    "silu": Code(
        "x / (1 + e^-x)",
        "dy * (s + x s (1 - s)), s = 1 / (1 + e^-x)",
        "math::silu({x})",
        "{dy} * math::silu_slope({saved})",
    ),
}


def code_of(act: Activation) -> Code:
    """Raises ValueError for a kind without code."""
    return entry_of(CODES, act.kind, "CUDA code")
