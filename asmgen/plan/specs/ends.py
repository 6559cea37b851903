"""Specs of what begins and ends a step: input, loss, optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import LINE_BYTES, Activations, Image, Rows, round_up
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    activations_tag,
    affine_tag,
    dtype_tag,
    halo_tag,
    number_tag,
    require,
    require_rows,
)


@dataclass(frozen=True)
class LoadInput(KernelSpec):
    """dst[n] = u8 image[indices[n]] * scale[c] + shift[c]; images are planar `c h w` u8, one after the other.

    dst is an Image with block 1 or V (its halo is not written, pad lanes are zero), or Rows without source (features in
    c, h, w order).
    """

    c: int
    h: int
    w: int
    dst: Activations
    scale: tuple[float, ...]  # one per channel
    shift: tuple[float, ...]

    def slice_units(self) -> int:
        return self.dst.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        kind = "rows" if isinstance(self.dst, Rows) else "image" if self.dst.block == 1 else "blocks"
        halo = halo_tag(self.dst) if isinstance(self.dst, Image) else ""
        shape = f"n{self.dst.n}c{self.c}h{self.h}w{self.w}{halo}"
        return f"load_input_{shape}_{kind}{affine_tag(self.scale, self.shift)}_{dtype_tag(self.dst.dtype)}"

    def flops(self) -> int:
        return 2 * self.dst.n * self.c * self.h * self.w

    def check(self) -> None:
        super().check()
        require(len(self.scale) == len(self.shift) == self.c, self, "needs a scale and a shift for each channel")
        if isinstance(self.dst, Image):
            shape = self.dst.c, self.dst.h, self.dst.w
            require(shape == (self.c, self.h, self.w), self, "dst is not of the images' shape")
        else:
            require_rows(self, self.c * self.h * self.w, dst=self.dst)


@dataclass(frozen=True)
class Loss(KernelSpec):
    """losses[n], preds[n] and dz from z and labels (docs/architecture.md, Loss block).

    kind: "softmax_ce" -log softmax(z)[label], dz = (softmax - onehot) * inv_count; "bce" mean over outputs of
    max(z,0) - z*y + log1p(exp(-|z|)), dz = (sigmoid(z) - y) * inv_count / outputs; "mse" mean over outputs of
    (z - y)^2, dz = 2 (z - y) * inv_count / outputs. Rows of absent samples (n >= present): loss 0, dz 0, pred 0.
    gradient: whether dz is written. Without, for evaluation, there is no third argument, and inv_count is not read;
    losses and predictions are the same bits.
    """

    kind: str
    z: Rows
    gradient: bool = True

    @property
    def losses_offset_bytes(self) -> int:
        """Of losses[0] in the loss block."""
        return LINE_BYTES

    @property
    def preds_offset_bytes(self) -> int:
        """Of preds[0] in the loss block."""
        return round_up(self.losses_offset_bytes + self.z.n * self.z.element_bytes, LINE_BYTES)

    def slice_units(self) -> int:
        return self.z.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        purpose = "" if self.gradient else "_eval"
        return f"{self.kind}{purpose}_{activations_tag(self.z)}_{dtype_tag(self.z.dtype)}"

    def flops(self) -> int:
        return (10 if self.gradient else 7) * self.z.n * self.z.features


@dataclass(frozen=True)
class Probabilities(KernelSpec):
    """p from z, of the same layout; p may be z. The network's answer, for inference.

    kind: "softmax" p[n,k] = e^(z[n,k] - m) / sum_j e^(z[n,j] - m) with m = max_j z[n,j]; "sigmoid" 1 / (1 + e^-z).
    Padding of p's rows is written with zeros.
    """

    kind: str
    z: Rows

    def slice_units(self) -> int:
        return self.z.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.kind}_fwd_{activations_tag(self.z)}_{dtype_tag(self.z.dtype)}"

    def flops(self) -> int:
        return 7 * self.z.n * self.z.features

    def check(self) -> None:
        super().check()
        require(self.kind in ("softmax", "sigmoid"), self, "kind must be softmax or sigmoid")


@dataclass(frozen=True)
class Update(KernelSpec):
    """One optimizer step over `n_vectors` vectors of parameters. States lie one after the other, each n_vectors long.

    kind: "sgd" (no state), "momentum", "nesterov" (one), "adam", "adamw" (m, then v). Formulas and the hyper block:
    docs/architecture.md.
    """

    kind: str
    dtype: str
    block: int
    n_vectors: int
    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0

    @property
    def n_states(self) -> int:
        return {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}[self.kind]

    def slice_units(self) -> int:
        return self.n_vectors

    def stem(self) -> str:
        return f"update_{self.kind}_v{self.n_vectors}{self.constants_tag()}_{dtype_tag(self.dtype)}"

    def constants_tag(self) -> str:
        """`_mu0p5_b0p9_0p99_eps1em06_wd0p01`: the optimizer's constants that are not PyTorch's usual ones."""
        betas = f"_b{number_tag(self.beta1)}_{number_tag(self.beta2)}"
        usual = _CONSTANTS[self.kind]
        tags = (
            f"_mu{number_tag(self.momentum)}" if self.momentum != usual.momentum else "",
            betas if (self.beta1, self.beta2) != (usual.beta1, usual.beta2) else "",
            f"_eps{number_tag(self.eps)}" if self.eps != usual.eps else "",
            f"_wd{number_tag(self.weight_decay)}" if self.weight_decay != usual.weight_decay else "",
        )
        return "".join(tags)

    def flops(self) -> int:
        per_element = {"sgd": 2, "momentum": 4, "nesterov": 6, "adam": 12, "adamw": 14}[self.kind]
        return per_element * self.n_vectors * self.block

    def check(self) -> None:
        super().check()
        require(self.kind in _CONSTANTS, self, f"kind must be one of {', '.join(_CONSTANTS)}")


@dataclass(frozen=True)
class _Constants:
    """Of an optimizer, as PyTorch has them; 0: it does not read it (a weight decay: none unless it is asked for)."""

    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0


_CONSTANTS = {
    "sgd": _Constants(),
    "momentum": _Constants(momentum=0.9),
    "nesterov": _Constants(momentum=0.9),
    "adam": _Constants(beta1=0.9, beta2=0.999, eps=1e-8),
    "adamw": _Constants(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01),
}
