"""Specs of the loss with its gradient, and of probabilities for inference."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import LINE_BYTES, Rows, round_up
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    activations_tag,
    dtype_tag,
    number_tag,
    numbers_digest,
    require,
)


@dataclass(frozen=True)
class Loss(KernelSpec):
    """losses[n], preds[n] and dz from z and labels (docs/architecture.md, Loss block).

    kind: "softmax_ce" -sum_k q[k] log softmax(z)[k], dz = (softmax - q) * inv_count, q = (1 - label_smoothing) onehot +
    label_smoothing / outputs; "bce" mean over outputs of max(z,0) - z*y + log1p(exp(-|z|)), dz = (sigmoid(z) - y) *
    inv_count / outputs; "mse" mean over outputs of (z - y)^2, dz = 2 (z - y) * inv_count / outputs; "mae" mean over
    outputs of |z - y|, dz = sign(z - y) * inv_count / outputs; "huber" mean over outputs of c (d - c / 2), d = z - y,
    c = d clamped to +-delta, dz = c * inv_count / outputs. Rows of absent samples (n >= present): loss 0, dz 0, pred 0.
    class_weights w, of softmax_ce: q is w[k] times the above, Q its sum, W the sum of w[label] over samples present.
    The loss is then Q log(sum) - sum_k q[k] (z[k] - m), times present / W; dz = (Q softmax - q) / W.
    gradient: whether dz is written. Without, for evaluation, there is no third argument, and inv_count is not read;
    losses and predictions are the same bits.
    """

    kind: str
    z: Rows
    gradient: bool = True
    delta: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @property
    def targets_text(self) -> str:
        """The formula of softmax_ce's targets q."""
        smoothing = self.label_smoothing
        q = f"{1 - smoothing:g} (k == label) + {smoothing:g} / {self.z.features}"
        return f"q[n,k] = w[k] ({q}), w the classes' weights" if self.class_weights else f"q[n,k] = {q}"

    @property
    def label_targets(self) -> tuple[float, ...]:
        """By class: what the label's target has more than the target of `other_targets`."""
        return tuple(weight * (1 - self.label_smoothing) for weight in self._weights)

    @property
    def other_targets(self) -> tuple[float, ...]:
        """By class: its target where it is not the label."""
        return tuple(weight * self.label_smoothing / self.z.features for weight in self._weights)

    @property
    def target_sums(self) -> tuple[float, ...]:
        """By the label's class: the sum of all targets."""
        return tuple(target + sum(self.other_targets) for target in self.label_targets)

    @property
    def _weights(self) -> tuple[float, ...]:
        return self.class_weights or (1.0,) * self.z.features

    @property
    def threshold(self) -> float:
        """Of a single output: above it the class is 1."""
        return _KINDS[self.kind].threshold

    @property
    def losses_offset_bytes(self) -> int:
        """Of losses[0] in the loss block."""
        return LINE_BYTES

    @property
    def preds_offset_bytes(self) -> int:
        """Of preds[0] in the loss block."""
        return round_up(self.losses_offset_bytes + self.z.n * self.z.element_bytes, LINE_BYTES)

    @property
    def op(self) -> str:
        return f"loss_{self.kind}" if self.gradient else f"loss_{self.kind}_eval"

    def slice_units(self) -> int:
        return self.z.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.z)}{self.constants_tag()}_{dtype_tag(self.z.dtype)}"

    def constants_tag(self) -> str:
        """`_delta0p5_smooth0p1`, `_weights` and a digest: the constants that are not PyTorch's usual ones."""
        delta = f"_delta{number_tag(self.delta)}" if self.delta != _KINDS[self.kind].delta else ""
        smoothing = f"_smooth{number_tag(self.label_smoothing)}" if self.label_smoothing else ""
        weights = f"_weights{numbers_digest(*self.class_weights)}" if self.class_weights else ""
        return delta + smoothing + weights

    def check(self) -> None:
        super().check()
        require(self.kind in _KINDS, self, f"kind must be one of {', '.join(_KINDS)}")
        has_delta = _KINDS[self.kind].delta > 0
        require(self.delta > 0 if has_delta else self.delta == 0, self, "only a Huber loss has a delta")
        most = 1.0 if self.kind == "softmax_ce" else 0.0
        require(self.label_smoothing == 0 or 0 < self.label_smoothing < most, self, "no such label smoothing")
        most_weights = self.z.features if self.kind == "softmax_ce" else 0
        require(len(self.class_weights) in (0, most_weights), self, "not a weight a class")
        require(all(weight > 0 for weight in self.class_weights), self, "weights must be positive")

    def flops(self) -> int:
        return (10 if self.gradient else 7) * self.z.n * self.z.features


@dataclass(frozen=True)
class _Kind:
    """Of a kind of loss: the threshold of a single output; its constants as PyTorch has them (0: it has none)."""

    threshold: float = 0.0
    delta: float = 0.0


_KINDS = {
    "softmax_ce": _Kind(),
    "bce": _Kind(),
    "mse": _Kind(threshold=0.5),
    "mae": _Kind(threshold=0.5),
    "huber": _Kind(threshold=0.5, delta=1.0),
}


@dataclass(frozen=True)
class Probabilities(KernelSpec):
    """p from z, of the same layout; p may be z. The network's answer, for inference.

    kind: "softmax" p[n,k] = e^(z[n,k] - m) / sum_j e^(z[n,j] - m) with m = max_j z[n,j]; "sigmoid" 1 / (1 + e^-z).
    Padding of p's rows is written with zeros.
    """

    kind: str
    z: Rows

    @property
    def op(self) -> str:
        return f"probabilities_{self.kind}"

    def slice_units(self) -> int:
        return self.z.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.z)}_{dtype_tag(self.z.dtype)}"

    def flops(self) -> int:
        return 7 * self.z.n * self.z.features

    def check(self) -> None:
        super().check()
        require(self.kind in ("softmax", "sigmoid"), self, "kind must be softmax or sigmoid")
