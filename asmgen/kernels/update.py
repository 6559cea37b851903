"""One optimizer step over a slice of all parameters (formulas: docs/architecture.md, Hyper block).

Pure streaming: nothing is reused, so four vectors are in flight to overlap their latencies; the divisions and square
roots of Adam are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.specs import Update, dtype_tag

_UNROLL = 4  # vectors in flight

_FORMULAS = {
    "sgd": ("w -= lr * g",),
    "momentum": ("v = mu * v + g", "w -= lr * v"),
    "nesterov": ("v = mu * v + g", "w -= lr * (g + mu * v)"),
    "adam": (
        "m = beta1 * m + (1 - beta1) * g,   v = beta2 * v + (1 - beta2) * g^2",
        "w -= step * m / (sqrt(v) * inv_sqrt + eps)   step = lr / (1 - beta1^t), inv_sqrt = 1 / sqrt(1 - beta2^t)",
    ),
}
_HYPER = ("lr", "step", "inv_sqrt")  # the hyper block's elements, in order


def emit(spec: Update, isa: Isa) -> Listing:
    """The listing of one kernel (arguments: params, grads, state, hyper; slice: vectors)."""
    return _Update(spec, isa).emit()


class _Update:
    """One emission: the assembler, the pointers at the slice's current vector, the broadcast hyper parameters."""

    def __init__(self, spec: Update, isa: Isa) -> None:
        self.spec = spec
        self.asm = Assembler(isa, spec.dtype, spec.symbol(isa.name))
        self.v = self.asm.v
        self.state_bytes = spec.n_vectors * isa.vector_bytes  # from a state to the next

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        step = {
            "sgd": self._sgd,
            "momentum": self._momentum,
            "nesterov": self._momentum,
            "adam": self._adam,
            "adamw": self._adam,
        }[spec.kind]
        with asm:
            self.params, self.grads = asm.argument(0, "params"), asm.argument(1, "grads")
            self.states = [asm.argument(2, "state")] if spec.n_states else []
            hyper = asm.argument(3, "hyper")
            begin, end = asm.argument(4, "begin"), asm.argument(5, "end / vectors left over")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, end)
            x86.JAE(done)
            asm.comment("move every pointer to the first vector of the slice")
            x86.SUB(end, begin)
            x86.IMUL(begin, begin, asm.isa.vector_bytes)
            for pointer in (self.params, self.grads, *self.states):
                x86.ADD(pointer, begin)
            if spec.n_states == 2:
                self.states.append(asm.gp.alloc("second state"))
                x86.LEA(self.states[1], [self.states[0] + self.state_bytes])
            asm.gp.free(begin)
            self._load_hyper(hyper)
            asm.gp.free(hyper)
            blocks = asm.gp.alloc("blocks left")
            x86.MOV(blocks, end)
            x86.SHR(blocks, _UNROLL.bit_length() - 1)
            x86.AND(end, _UNROLL - 1)
            self._loop("block", f"vectors of the slice / {_UNROLL}", blocks, _UNROLL, step)
            self._loop("single", f"vectors of the slice % {_UNROLL}", end, 1, step)
            asm.place(done)
        return asm.finish(self._facts())

    def _load_hyper(self, hyper: Any) -> None:
        """Broadcast the scalars of this step that the optimizer uses."""
        asm, spec = self.asm, self.spec
        asm.comment("the step's scalars, in every lane")
        used = {"adam": ("step", "inv_sqrt"), "adamw": ("step", "inv_sqrt")}.get(spec.kind, ("lr",))
        self.scalars = {name: asm.vec.alloc(name) for name in used}
        for name, register in self.scalars.items():
            self.v.broadcast(register, [hyper + _HYPER.index(name) * asm.element_bytes])
        if self._decays_weights:
            decay = self.scalars["decay"] = asm.vec.alloc("lr * weight decay")
            self.v.broadcast(decay, [hyper])
            self.v.mul(decay, decay, asm.vector_constant("weight_decay", spec.weight_decay))

    @property
    def _decays_weights(self) -> bool:
        """Weight decay acts on the weights directly (AdamW), not through the gradient."""
        return self.spec.kind == "adamw" and self.spec.weight_decay != 0

    @property
    def _decays_gradient(self) -> bool:
        return self.spec.kind != "adamw" and self.spec.weight_decay != 0

    def _loop(self, name: str, trips: str, count: Any, vectors: int, step: Callable[[int], None]) -> None:
        with self.asm.loop(name, trips, count):
            step(vectors)
            for pointer in (self.params, self.grads, *self.states):
                x86.ADD(pointer, vectors * self.asm.isa.vector_bytes)

    # pieces: each does its part for all vectors in flight ----------------------------------------------------------

    def _operands(self, pointer: Any, count: int) -> list[Any]:
        return [[pointer + i * self.asm.isa.vector_bytes] for i in range(count)]

    def _load(self, name: str, operands: list[Any]) -> list[Any]:
        registers = [self.asm.vec.alloc(f"{name}[{i}]") for i in range(len(operands))]
        for register, operand in zip(registers, operands, strict=True):
            self.v.load(register, operand)
        return registers

    def _store(self, operands: list[Any], registers: list[Any]) -> None:
        for operand, register in zip(operands, registers, strict=True):
            self.v.store(operand, register)

    def _each(self, op: Callable[..., None], *vectors: Any) -> None:
        """op over the vectors in flight; an operand that is no list is the same for all."""
        count = next(len(vector) for vector in vectors if isinstance(vector, list))
        for i in range(count):
            op(*(vector[i] if isinstance(vector, list) else vector for vector in vectors))

    def _phase(self, count: int, text: str) -> None:
        """A comment, once: in the unrolled loop."""
        if count > 1:
            self.asm.comment(text)

    def _gradient(self, count: int) -> list[Any]:
        """g, with the weight decay that acts through the gradient."""
        self._phase(count, "g" + (" += weight_decay * w" if self._decays_gradient else ""))
        g = self._load("g", self._operands(self.grads, count))
        if self._decays_gradient:
            w = self._load("w", self._operands(self.params, count))
            self._each(self.v.fma, g, w, self.asm.vector_constant("weight_decay", self.spec.weight_decay))
            self.asm.vec.free(*w)
        return g

    def _sgd(self, count: int) -> None:
        g = self._gradient(count)
        self._phase(count, "w -= lr * g")
        at = self._operands(self.params, count)
        w = self._load("w", at)
        self._each(self.v.fnma, w, g, self.scalars["lr"])
        self._store(at, w)
        self.asm.vec.free(*g, *w)

    def _momentum(self, count: int) -> None:
        v = self.v
        mu = self.asm.vector_constant("mu", self.spec.momentum)
        g = self._gradient(count)
        self._phase(count, "v = mu * v + g")
        at = self._operands(self.states[0], count)
        velocity = self._load("v", at)
        self._each(v.mul, velocity, velocity, mu)
        self._each(v.add, velocity, velocity, g)
        self._store(at, velocity)
        is_nesterov = self.spec.kind == "nesterov"
        self._phase(count, "w -= lr * (g + mu * v)" if is_nesterov else "w -= lr * v")
        if is_nesterov:
            self._each(v.fma, g, velocity, mu)
            change, other = g, velocity
        else:
            change, other = velocity, g
        self.asm.vec.free(*other)
        at = self._operands(self.params, count)
        w = self._load("w", at)
        self._each(v.fnma, w, change, self.scalars["lr"])
        self._store(at, w)
        self.asm.vec.free(*change, *w)

    def _adam(self, count: int) -> None:
        v, spec, constant = self.v, self.spec, self.asm.vector_constant
        g = self._gradient(count)
        self._phase(count, "m = beta1 * m + (1 - beta1) * g")
        at = self._operands(self.states[0], count)
        m = self._load("m", at)
        self._each(v.mul, m, m, constant("beta1", spec.beta1))
        self._each(v.fma, m, g, constant("one_minus_beta1", 1 - spec.beta1))
        self._store(at, m)
        self._phase(count, "v = beta2 * v + (1 - beta2) * g^2")
        at = self._operands(self.states[1], count)
        self._each(v.mul, g, g, g)
        second = self._load("v", at)
        self._each(v.mul, second, second, constant("beta2", spec.beta2))
        self._each(v.fma, second, g, constant("one_minus_beta2", 1 - spec.beta2))
        self._store(at, second)
        self._phase(count, "m / (sqrt(v) * inv_sqrt + eps)")
        self._each(v.sqrt, second, second)
        self._each(v.mul, second, second, self.scalars["inv_sqrt"])
        self._each(v.add, second, second, constant("eps", spec.eps))
        self._each(v.div, m, m, second)
        self.asm.vec.free(*g, *second)
        self._phase(count, ("w -= lr * weight_decay * w, then " if self._decays_weights else "") + "w -= step * that")
        at = self._operands(self.params, count)
        w = self._load("w", at)
        if self._decays_weights:
            self._each(v.fnma, w, w, self.scalars["decay"])
        self._each(v.fnma, w, m, self.scalars["step"])
        self._store(at, w)
        self.asm.vec.free(*m, *w)

    def _facts(self) -> Facts:
        spec = self.spec
        formula = _FORMULAS["adam" if spec.kind == "adamw" else spec.kind]
        if spec.weight_decay:
            formula = ("w -= lr * weight_decay * w" if spec.kind == "adamw" else "g += weight_decay * w", *formula)
        ctype = dtype_tag(spec.dtype)
        shape = f"[{spec.n_vectors}][{spec.block}]"
        states = "v" if spec.n_states == 1 else "m, then v"
        state = Argument("rdx", "state", ctype, f"[{spec.n_states}]{shape}", "in/out", states)
        return Facts(
            title=f"update_{spec.kind}  {spec.n_vectors * spec.block} parameters",
            source="asmgen/kernels/update.py",
            formula=formula,
            arguments=(
                Argument("rdi", "params", ctype, shape, "in/out", "64-byte aligned"),
                Argument("rsi", "grads", ctype, shape, "in", "64-byte aligned"),
                *((state,) if spec.n_states else ()),
                Argument("rcx", "hyper", ctype, f"[{len(_HYPER)}]", "in", ", ".join(_HYPER)),
            ),
            slice_unit=f"vectors, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=(2 + spec.n_states) * self.state_bytes,
            bytes_written=(1 + spec.n_states) * self.state_bytes,
            tile=f"{_UNROLL} vectors in flight, then single ones",
        )
