"""Losses, each the mean over the samples of the batch. Labels are class numbers."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.model.located import Located


@dataclass(frozen=True)
class Loss(Located):
    """Base of the losses."""


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """-log softmax(z)[label], from logits z; two or more outputs."""


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """-t log s(z) - (1 - t) log(1 - s(z)), s the sigmoid, from logits z, mean over the outputs.

    One output: t = label (0 or 1). Several: t = one-hot label.
    """


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """(y - t)^2, mean over the outputs. One output: t = label. Several: t = one-hot label."""
