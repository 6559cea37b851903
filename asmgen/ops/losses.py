"""Losses, each the mean over the samples of the batch. Labels are class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from asmgen.ops.base import Elementwise, Layer, Op, Shape, Site
from asmgen.ops.located import Located
from asmgen.ops.numeric import Array, np
from asmgen.ops.rules import Gradients
from asmgen.ops.sigmoid import Sigmoid, sigmoid
from asmgen.ops.softmax import Softmax, softmax

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Loss(Op, Located):
    """Base of the losses. Inputs: z [n, outputs], labels [n], how many samples are present.

    Outputs: the loss of every sample, the predicted classes; 0 for samples that are absent.
    """

    kind = "loss"
    role = "loss"
    more_outputs = (("predictions", "loss"),)

    #: The layer that the loss has in itself: it works on what that layer reads.
    absorbs: ClassVar[type[Layer] | None] = None
    #: Begins the kernel's symbol.
    symbol: ClassVar[str]
    #: At least so many outputs.
    least_outputs: ClassVar[int] = 1

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (), ()

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        z, labels, present = inputs
        is_present = np.arange(len(z)) < present
        losses = self.losses(z, labels) * self.scale(labels, present)
        return np.where(is_present, losses, 0.0), np.where(is_present, self.predictions(z), 0)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(LossGradient(self), *rules.inputs), None, None]

    def losses(self, z: Array, labels: Array) -> Array:
        """The loss of every sample."""
        raise NotImplementedError

    def slope(self, z: Array, labels: Array) -> Array:
        """The gradient of each sample's own loss."""
        raise NotImplementedError

    def scale(self, labels: Array, present: Any) -> Any:
        """What makes the mean over the samples present PyTorch's mean of them."""
        return 1.0

    def check_outputs(self, outputs: int) -> None:
        """Raise ModelError unless the loss is one of so many outputs."""

    def predictions(self, z: Array) -> Array:
        """Classes: of several outputs the largest, the first of equal ones."""
        classes: Array = z.argmax(-1) if z.shape[1] > 1 else z[:, 0] > self.threshold
        return classes

    #: Of a single output: above it the class is 1.
    threshold: ClassVar[float] = 0.0

    def targets(self, z: Array, labels: Array) -> Array:
        """One output: the label; several: one-hot."""
        return labels[:, None] if z.shape[1] == 1 else np.eye(z.shape[1])[labels]

    def constants(self) -> dict[str, Any]:
        """The numbers of the formula, by the names that the kernel's spec has for them, too."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "where"}

    def probabilities(self) -> Layer | None:
        """The layer that makes probabilities of what the loss works on; None where that is the output itself."""
        return None

    def torch(self) -> nn.Module:
        """The criterion, on logits and targets."""
        raise NotImplementedError


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """-sum over k of t[k] log softmax(z)[k], from logits z; two or more outputs.

    t: the one-hot label, of which label_smoothing is dealt to all outputs alike; class_weights are factors of it, one
    an output, and the mean is over the weights of the labels.
    """

    absorbs = Softmax
    symbol = "softmax_ce"
    least_outputs = 2

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def check(self) -> None:
        super().check()
        self.need_number("label_smoothing", 0, 1, below=True)
        weights: Any = self.class_weights
        if not isinstance(weights, tuple | list):
            raise self.error(f"class_weights={weights!r} must be a tuple of numbers, one a class")
        for index, weight in enumerate(weights):
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (is_number and 1e-6 <= weight <= 1e6):
                raise self.error(f"class_weights[{index}]={weight!r} must be a number in [1e-06, 1e+06]")
        object.__setattr__(self, "class_weights", tuple(map(float, weights)))

    def check_outputs(self, outputs: int) -> None:
        n_weights = len(self.class_weights)
        if n_weights not in (0, outputs):
            raise self.error(f"class_weights has {n_weights} numbers; the network has {outputs} outputs")

    def scale(self, labels: Array, present: Any) -> Any:
        return present / np.array(self.class_weights)[labels[:present]].sum() if self.class_weights else 1.0

    def targets(self, z: Array, labels: Array) -> Array:
        targets: Array = (1 - self.label_smoothing) * super().targets(z, labels) + self.label_smoothing / z.shape[1]
        return targets * np.array(self.class_weights) if self.class_weights else targets

    def losses(self, z: Array, labels: Array) -> Array:
        shifted, targets = z - z.max(-1, keepdims=True), self.targets(z, labels)
        chosen = (targets * np.where(targets, shifted, 0.0)).sum(-1)
        losses: Array = targets.sum(-1) * np.log(np.exp(shifted).sum(-1)) - chosen
        return losses

    def slope(self, z: Array, labels: Array) -> Array:
        targets = self.targets(z, labels)
        slope: Array = targets.sum(-1, keepdims=True) * softmax(z) - targets
        return slope

    def probabilities(self) -> Layer:
        return Softmax(where=self.where)

    def torch(self) -> nn.Module:
        import torch
        from torch import nn

        weight = torch.tensor(self.class_weights, dtype=torch.float64) if self.class_weights else None
        return nn.CrossEntropyLoss(weight, label_smoothing=float(self.label_smoothing))


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """-t log s(z) - (1 - t) log(1 - s(z)), s the sigmoid, from logits z, mean over the outputs.

    One output: t = label (0 or 1). Several: t = one-hot label.
    """

    absorbs = Sigmoid
    symbol = "bce"

    def losses(self, z: Array, labels: Array) -> Array:
        t = self.targets(z, labels)
        losses: Array = (np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))).mean(-1)
        return losses

    def slope(self, z: Array, labels: Array) -> Array:
        slope: Array = (sigmoid(z) - self.targets(z, labels)) / z.shape[1]
        return slope

    def probabilities(self) -> Elementwise:
        return Sigmoid(where=self.where)

    def torch(self) -> nn.Module:
        from torch import nn

        return nn.BCEWithLogitsLoss()


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """(y - t)^2, mean over the outputs. One output: t = label. Several: t = one-hot label."""

    symbol = "mse"
    threshold = 0.5

    def losses(self, z: Array, labels: Array) -> Array:
        losses: Array = ((z - self.targets(z, labels)) ** 2).mean(-1)
        return losses

    def slope(self, z: Array, labels: Array) -> Array:
        slope: Array = 2.0 * (z - self.targets(z, labels)) / z.shape[1]
        return slope

    def torch(self) -> nn.Module:
        from torch import nn

        return nn.MSELoss()


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """|y - t|, mean over the outputs; its slope is 0 where y = t. Targets as MeanSquaredError's."""

    symbol = "mae"
    threshold = 0.5

    def losses(self, z: Array, labels: Array) -> Array:
        losses: Array = np.abs(z - self.targets(z, labels)).mean(-1)
        return losses

    def slope(self, z: Array, labels: Array) -> Array:
        slope: Array = np.sign(z - self.targets(z, labels)) / z.shape[1]
        return slope

    def torch(self) -> nn.Module:
        from torch import nn

        return nn.L1Loss()


@dataclass(frozen=True)
class Huber(Loss):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), d = y - t, mean over the outputs.

    Targets as MeanSquaredError's.
    """

    symbol = "huber"
    threshold = 0.5

    delta: float = 1.0

    def check(self) -> None:
        super().check()
        self.need_number("delta", 1e-6, 1e6)

    def losses(self, z: Array, labels: Array) -> Array:
        distance = z - self.targets(z, labels)
        clamped = np.clip(distance, -self.delta, self.delta)
        losses: Array = (clamped * (distance - clamped / 2)).mean(-1)
        return losses

    def slope(self, z: Array, labels: Array) -> Array:
        slope: Array = np.clip(z - self.targets(z, labels), -self.delta, self.delta) / z.shape[1]
        return slope

    def torch(self) -> nn.Module:
        from torch import nn

        return nn.HuberLoss(delta=float(self.delta))


@dataclass(frozen=True)
class LossGradient(Op):
    """dz of the mean loss over the samples present; 0 for absent ones. Inputs as the loss."""

    kind = "d"
    role = "gradient"

    of: Loss

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        z, labels, present = inputs
        is_present = np.arange(len(z)) < present
        slope = self.of.slope(z, labels) * self.of.scale(labels, present) / present
        return (np.where(is_present[:, None], slope, 0.0),)
