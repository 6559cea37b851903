"""Optimizers, with PyTorch's formulas. g is the gradient; weight_decay adds weight_decay * w to it (AdamW: see there).

The learning rate of epoch e (from 0) is lr * lr_decay ** e.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from asmgen.model.located import Located


@dataclass(frozen=True)
class Optimizer(Located):
    """Base of the optimizers: what all of them have."""

    lr: float
    weight_decay: float = field(default=0.0, kw_only=True)
    lr_decay: float = field(default=1.0, kw_only=True)

    def check(self) -> None:
        self.need_number("lr", 0, 1e6)
        self.need_number("weight_decay", 0, 1e6)
        self.need_number("lr_decay", 0, 1, above=True)


@dataclass(frozen=True)
class SGD(Optimizer):
    """w -= lr * g."""


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = momentum * v + g; w -= lr * v."""

    momentum: float = 0.9

    def check(self) -> None:
        super().check()
        self.need_number("momentum", 0, 1, below=True)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = momentum * v + g; w -= lr * (g + momentum * v)."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr * m' / (sqrt(v') + eps).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) at step t, counted from 1.
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def check(self) -> None:
        super().check()
        self.need_number("beta1", 0, 1, below=True)
        self.need_number("beta2", 0, 1, below=True)
        self.need_number("eps", 0, 1, above=True)


@dataclass(frozen=True)
class AdamW(Adam):
    """w -= lr * weight_decay * w first, then Adam with g alone."""

    weight_decay: float = field(default=0.01, kw_only=True)
