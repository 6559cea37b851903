"""Optimizers, with PyTorch's formulas. g is the gradient; weight_decay adds weight_decay * w to it (AdamW: see there).

The learning rate of epoch e (from 0) is lr * lr_decay ** e.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from asmgen.ops.located import Located
from asmgen.ops.numeric import Array, np


@dataclass(frozen=True)
class Optimizer(Located):
    """Base of the optimizers: what all of them have."""

    #: As the formula calls what it keeps of every parameter.
    states: ClassVar[tuple[str, ...]] = ()

    lr: float
    weight_decay: float = field(default=0.0, kw_only=True)
    lr_decay: float = field(default=1.0, kw_only=True)

    def check(self) -> None:
        self.need_number("lr", 0, 1e6)
        self.need_number("weight_decay", 0, 1e6)
        self.need_number("lr_decay", 0, 1, above=True)

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        """The new parameter and states in NumPy. hyper: lr, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t) of step t."""
        raise NotImplementedError

    def decayed(self, w: Array, gradient: Array) -> Array:
        """The gradient with the weight decay."""
        return gradient + self.weight_decay * w


@dataclass(frozen=True)
class SGD(Optimizer):
    """w -= lr * g."""

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        return (w - hyper[0] * self.decayed(w, gradient),)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = momentum * v + g; w -= lr * v."""

    states = ("v",)

    momentum: float = 0.9

    def check(self) -> None:
        super().check()
        self.need_number("momentum", 0, 1, below=True)

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        v = self.momentum * states[0] + self.decayed(w, gradient)
        return w - hyper[0] * v, v


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = momentum * v + g; w -= lr * (g + momentum * v)."""

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        g = self.decayed(w, gradient)
        v = self.momentum * states[0] + g
        return w - hyper[0] * (g + self.momentum * v), v


@dataclass(frozen=True)
class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr * m' / (sqrt(v') + eps).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) at step t, counted from 1.
    """

    states = ("m", "v")

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def check(self) -> None:
        super().check()
        self.need_number("beta1", 0, 1, below=True)
        self.need_number("beta2", 0, 1, below=True)
        self.need_number("eps", 0, 1, above=True)

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        return self.adam(w, self.decayed(w, gradient), hyper, *states)

    def adam(self, w: Array, g: Array, hyper: Array, m: Array, v: Array) -> tuple[Array, ...]:
        """The step with a gradient that has its decay."""
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        return w - hyper[1] * m / (np.sqrt(v) * hyper[2] + self.eps), m, v


@dataclass(frozen=True)
class AdamW(Adam):
    """w -= lr * weight_decay * w first, then Adam with g alone."""

    weight_decay: float = field(default=0.01, kw_only=True)

    def step(self, w: Array, gradient: Array, hyper: Array, *states: Array) -> tuple[Array, ...]:
        return self.adam(w - hyper[0] * self.weight_decay * w, gradient, hyper, *states)
