"""The optimizer's step for gradients in registers: what `update_sgd` and `dense_dw_sgd` share.

Formulas: docs/architecture.md, Hyper block. Every element is one chain of operations, whatever is computed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.plan.specs import Update

SMALLEST_NORMAL = 2.0**-126  # of float32
LEAST_EPS = 1e-10  # beside which the corrections of estimates that are flushed to zero, 2^-64 inv_sqrt, do not count

HYPER = ("lr", "step", "inv_sqrt")  # the hyper block's elements, in order

_FORMULAS = {
    "sgd": ("w -= lr * g",),
    "momentum": ("v = mu * v + g", "w -= lr * v"),
    "nesterov": ("v = mu * v + g", "w -= lr * (g + mu * v)"),
    "adam": (
        "m = beta1 * m + (1 - beta1) * g,   v = beta2 * v + (1 - beta2) * g^2",
        "w -= step * m / (sqrt(v) * inv_sqrt + eps)   step = lr / (1 - beta1^t), inv_sqrt = 1 / sqrt(1 - beta2^t)",
    ),
}


def formula(spec: Update) -> tuple[str, ...]:
    """The step as the header of a kernel says it."""
    lines = _FORMULAS["adam" if spec.kind == "adamw" else spec.kind]
    if not spec.weight_decay:
        return lines
    return ("w -= lr * weight_decay * w" if spec.kind == "adamw" else "g += weight_decay * w", *lines)


def scalar_names(spec: Update) -> tuple[str, ...]:
    """The numbers of this step that the optimizer uses."""
    names = ("step", "inv_sqrt") if spec.n_states == 2 else ("lr",)
    return (*names, "decay") if _decays_weights(spec) else names


def load_scalar(asm: Assembler, spec: Update, name: str, register: Any, hyper: Any) -> None:
    """register = one of `scalar_names` in every lane; hyper: the register that points to the hyper block."""
    asm.v.broadcast(register, [hyper + HYPER.index("lr" if name == "decay" else name) * asm.element_bytes])
    if name == "decay":
        asm.v.mul(register, register, asm.vector_constant("weight_decay", spec.weight_decay))


def _estimates(asm: Assembler, spec: Update) -> bool:
    """Whether Adam divides by estimates and corrects them. 12 bits (AVX2, SSE) would need more steps: no faster."""
    return spec.n_states == 2 and spec.dtype == "float32" and asm.v.has_estimates() and spec.eps >= LEAST_EPS


def _decays_weights(spec: Update) -> bool:
    """Weight decay acts on the weights directly (AdamW), not through the gradient."""
    return spec.kind == "adamw" and spec.weight_decay != 0


class OptimizerStep:
    """Emits steps. scalars: each of `scalar_names` in every lane, a register or a memory operand."""

    def __init__(self, asm: Assembler, spec: Update, scalars: Mapping[str, Any]) -> None:
        self.asm, self.spec, self.scalars = asm, spec, scalars
        self.v = asm.v
        self._whole: dict[str, Any] = {}  # registers by the name of the view in use
        self._step: Callable[[list[Any], Sequence[Any], Sequence[Sequence[Any]]], None] = {
            "sgd": self._sgd,
            "momentum": self._momentum,
            "nesterov": self._momentum,
            "adam": self._adam,
            "adamw": self._adam,
        }[spec.kind]

    @property
    def n_registers(self) -> int:
        """Vector registers that a gradient needs beside its own."""
        return 1 if self.spec.kind == "sgd" else 3 if _estimates(self.asm, self.spec) else 2

    def emit(
        self, g: list[Any], w_at: Sequence[Any], states_at: Sequence[Sequence[Any]], *, explain: bool = True
    ) -> None:
        """The step for gradients g, registers or views of them, which are destroyed but not freed.

        w_at: an address for each gradient; states_at: the same for each state. explain: with comments.
        """
        self._explain = explain
        self._step(g, w_at, states_at)

    @property
    def _decays_gradient(self) -> bool:
        return self.spec.kind != "adamw" and self.spec.weight_decay != 0

    # pieces: each does its part for all gradients --------------------------------------------------------------------

    def _load(self, name: str, addresses: Sequence[Any], like: Any) -> list[Any]:
        """Registers as wide as `like` with the vectors at `addresses`."""
        registers = self._spare(name, [like] * len(addresses))
        for register, address in zip(registers, addresses, strict=True):
            self.v.load(register, [address])
        return registers

    def _spare(self, name: str, like: list[Any]) -> list[Any]:
        """A register for each of `like`, as wide."""
        return [self._register(f"{name}[{i}]" if len(like) > 1 else name, each) for i, each in enumerate(like)]

    def _register(self, name: str, like: Any) -> Any:
        whole = self.asm.vec.alloc(name)
        register = {16: whole.as_xmm, 32: whole.as_ymm}.get(like.size, whole)
        self._whole[str(register)] = whole
        return register

    def _free(self, registers: list[Any]) -> None:
        self.asm.vec.free(*(self._whole.pop(str(register)) for register in registers))

    def _store(self, addresses: Sequence[Any], registers: list[Any]) -> None:
        for address, register in zip(addresses, registers, strict=True):
            self.v.store([address], register)

    def _each(self, op: Callable[..., None], *vectors: Any) -> None:
        """op over all gradients; an operand that is no list is the same for all."""
        count = next(len(vector) for vector in vectors if isinstance(vector, list))
        for i in range(count):
            op(*(vector[i] if isinstance(vector, list) else vector for vector in vectors))

    def _phase(self, text: str) -> None:
        if self._explain:
            self.asm.comment(text)

    def _constant(self, name: str, value: float) -> Any:
        return self.asm.vector_constant(name, value)

    def _decay_gradient(self, g: list[Any], w: list[Any]) -> None:
        if self._decays_gradient:
            self._phase("g += weight_decay * w")
            self._each(self.v.fma, g, w, self._constant("weight_decay", self.spec.weight_decay))

    def _sgd(self, g: list[Any], w_at: Sequence[Any], _: Sequence[Sequence[Any]]) -> None:
        w = self._load("w", w_at, g[0])
        self._decay_gradient(g, w)
        self._phase("w -= lr * g")
        self._each(self.v.fnma, w, g, self.scalars["lr"])
        self._store(w_at, w)
        self._free(w)

    def _momentum(self, g: list[Any], w_at: Sequence[Any], states_at: Sequence[Sequence[Any]]) -> None:
        v, mu = self.v, self._constant("mu", self.spec.momentum)
        (velocity_at,) = states_at
        w = self._load("w", w_at, g[0]) if self._decays_gradient else []
        self._decay_gradient(g, w)
        self._phase("v = mu * v + g")
        velocity = self._load("v", velocity_at, g[0])
        self._each(v.mul, velocity, velocity, mu)
        self._each(v.add, velocity, velocity, g)
        self._store(velocity_at, velocity)
        is_nesterov = self.spec.kind == "nesterov"
        self._phase("w -= lr * (g + mu * v)" if is_nesterov else "w -= lr * v")
        if is_nesterov:
            self._each(v.fma, g, velocity, mu)
        w = w or self._load("w", w_at, g[0])
        self._each(v.fnma, w, g if is_nesterov else velocity, self.scalars["lr"])
        self._store(w_at, w)
        self._free(velocity + w)

    def _adam(self, g: list[Any], w_at: Sequence[Any], states_at: Sequence[Sequence[Any]]) -> None:
        v, spec = self.v, self.spec
        m_at, second_at = states_at
        if self._decays_gradient:
            w = self._load("w", w_at, g[0])
            self._decay_gradient(g, w)
            self._free(w)
        self._phase("m = beta1 * m + (1 - beta1) * g")
        m = self._load("m", m_at, g[0])
        self._each(v.mul, m, m, self._constant("beta1", spec.beta1))
        self._each(v.fma, m, g, self._constant("one_minus_beta1", 1 - spec.beta1))
        self._store(m_at, m)
        self._phase("v = beta2 * v + (1 - beta2) * g^2")
        self._each(v.mul, g, g, g)
        second = self._load("v", second_at, g[0])
        self._each(v.mul, second, second, self._constant("beta2", spec.beta2))
        self._each(v.fma, second, g, self._constant("one_minus_beta2", 1 - spec.beta2))
        self._store(second_at, second)
        if _estimates(self.asm, spec):
            self._divide_by_estimates(m, second, g)
        else:
            self._phase("m / (sqrt(v) * inv_sqrt + eps)")
            self._each(v.sqrt, second, second)
            self._each(v.load, g, self.scalars["inv_sqrt"])
            self._each(v.mul_add, second, g, self._constant("eps", spec.eps))
            self._each(v.div, m, m, second)
        self._free(second)
        decays = _decays_weights(spec)
        self._phase(("w -= lr * weight_decay * w, then " if decays else "") + "w -= step * that")
        w = self._load("w", w_at, g[0])
        if decays:
            self._each(v.fnma, w, w, self.scalars["decay"])
        self._each(v.fnma, w, m, self.scalars["step"])
        self._store(w_at, w)
        self._free(m + w)

    def _divide_by_estimates(self, m: list[Any], second: list[Any], y: list[Any]) -> None:
        """m /= sqrt(v) * inv_sqrt + eps, where v is `second`; y is destroyed.

        Markstein, "Software Division and Square Root Using Goldschmidt's Algorithms" (2004): what an estimate of
        relative error e misses is exact but for its rounding, v - s^2 and m - q d, and goes through the estimate
        again: s + (v - s^2) y / 2 and q + (m - q d) y are off by about e^2, 2^-28. The root is never rounded by itself,
        since its two parts meet inv_sqrt one by one. What remains are the roundings of d, of m / d and, where the root
        is small beside eps, of c * inv_sqrt + eps. v = 0 has no estimate, but s = 0 y = 0.
        """
        v, constant = self.v, self._constant
        s = self._spare("s", y)
        self._phase("y = rsqrt(v), s = v * y, c = (v - s * s) * y / 2:  sqrt(v) = s + c")
        self._each(v.max, y, second, constant("smallest", SMALLEST_NORMAL))
        self._each(v.rsqrt_estimate, y, y)
        self._each(v.mul, s, second, y)
        self._each(v.mul, y, y, constant("half", 0.5))
        self._each(v.fnma, second, s, s)
        self._each(v.mul, second, second, y)
        self._phase("d = s * inv_sqrt + (c * inv_sqrt + eps)")
        self._each(v.load, y, self.scalars["inv_sqrt"])
        self._each(v.mul_add, second, y, constant("eps", self.spec.eps))
        self._each(v.mul_add, s, y, second)
        self._phase("y = 1 / d, q = m * y:  m / d = q + (m - q * d) * y")
        self._each(v.reciprocal_estimate, y, s)
        self._each(v.mul, second, m, y)
        self._each(v.fnma, m, second, s)
        self._each(v.mul_add, m, y, second)
        self._free(s)
