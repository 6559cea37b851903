"""Specs of the dense layer: forward and both gradients."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import DenseWeights, Rows
from asmgen.plan.specs.base import Activation, KernelSpec, activation_tag, activations_tag, dtype_tag, require


@dataclass(frozen=True)
class DenseForward(KernelSpec):
    """y[n,o] = act(b[o] + sum_k x[n,k] w[o,k]); act none, relu, leaky_relu. Outputs padded to 4 are written (zeros)."""

    x: Rows
    weights: DenseWeights
    y: Rows
    bias: bool
    act: Activation

    def slice_units(self) -> int:
        return self.weights.n_rows // 4

    def stem(self) -> str:
        bias = "_bias" if self.bias else ""
        fused = f"{bias}{activation_tag(self.act)}"
        return f"dense_fwd_{activations_tag(self.x)}_k{self.weights.out}{fused}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out

    def check(self) -> None:
        require(self.act.kind in ("none", "relu", "leaky_relu"), self, "activation cannot be fused")


@dataclass(frozen=True)
class DenseBackwardInput(KernelSpec):
    """dx[n,k] = sum_o dy[n,o] w[o,k]; overwritten. Slice: vectors of inputs (of weights.inputs.n_vectors)."""

    dy: Rows
    weights: DenseWeights
    dx: Rows

    def slice_units(self) -> int:
        return self.dx.n_vectors

    def stem(self) -> str:
        return f"dense_dx_{activations_tag(self.dx)}_k{self.weights.out}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.dx.n * self.dx.features * self.weights.out


@dataclass(frozen=True)
class DenseBackwardWeights(KernelSpec):
    """dw[o,k] = sum_n dy[n,o] x[n,k]; db[o] = sum_n dy[n,o] (behind dw, as the bias lies); overwritten."""

    x: Rows
    dy: Rows
    weights: DenseWeights
    bias: bool

    def slice_units(self) -> int:
        return self.weights.n_rows // 4

    def stem(self) -> str:
        bias = "_bias" if self.bias else ""
        return f"dense_dw_{activations_tag(self.x)}_k{self.weights.out}{bias}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out
