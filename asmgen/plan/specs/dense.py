"""Specs of the dense layer: forward, both gradients, and the weight gradient with the optimizer's step in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from asmgen.plan.layout import DENSE_QUAD, DenseWeights, DenseWeightsByOutput, Rows
from asmgen.plan.specs.activations import Activation
from asmgen.plan.specs.base import (
    KernelSpec,
    activations_tag,
    dtype_tag,
    fused_words,
    require,
    require_rows,
    tags,
)
from asmgen.plan.specs.optimizer import Update

MOST_TURNED_BYTES = 128 * 1024  # of a vector of outputs on a kernel's frame


@dataclass(frozen=True)
class DenseForward(KernelSpec):
    """y[n,o] = act(b[o] + sum_k x[n,k] w[o,k]); act: one that is fusible. Outputs padded to 4 are written (zeros)."""

    x: Rows
    weights: DenseWeights
    y: Rows
    bias: bool
    act: Activation

    @property
    def op(self) -> str:
        return "dense_fwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.bias, act=self.act)

    def slice_units(self) -> int:
        return self.weights.n_quads

    def stem(self) -> str:
        shape = f"{activations_tag(self.x)}_k{self.weights.out}"
        return f"{self.op}_{shape}{tags(self.fused)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out

    def check(self) -> None:
        super().check()
        _check_product(self, self.x, self.weights, self.y)
        require(self.act.traits.is_fusible, self, "activation cannot be fused")


@dataclass(frozen=True)
class DenseForwardByOutput(KernelSpec):
    """DenseForward with lanes = outputs: of the weights, or of blocks of them that the kernel turns on its frame.

    Slice: vectors of outputs.
    """

    x: Rows
    weights: DenseWeights | DenseWeightsByOutput
    y: Rows
    bias: bool
    act: Activation

    @property
    def turns(self) -> bool:
        """Whether the weights lie by input."""
        return isinstance(self.weights, DenseWeights)

    @property
    def turned_bytes(self) -> int:
        """Of a vector of outputs: a vector for every input."""
        return self.x.stride * self.y.block * self.y.element_bytes

    @property
    def op(self) -> str:
        return "dense_fwd_turned" if self.turns else "dense_fwd_by_output"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.bias, act=self.act)

    def slice_units(self) -> int:
        return self.y.n_vectors

    def stem(self) -> str:
        shape = f"{activations_tag(self.x)}_k{self.weights.out}"
        return f"{self.op}_{shape}{tags(self.fused)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out

    def check(self) -> None:
        super().check()
        _check_product(self, self.x, self.weights, self.y)
        require(self.act.traits.is_fusible, self, "activation cannot be fused")
        if isinstance(self.weights, DenseWeights):
            require(self.weights.n_rows % self.y.block == 0, self, "a vector of outputs has rows for some only")
            require(self.turned_bytes <= MOST_TURNED_BYTES, self, "a vector of outputs is too much for the frame")
        else:
            require(self.y.n_vectors == self.weights.n_blocks, self, "rows of y do not hold the outputs")


@dataclass(frozen=True)
class DenseBackwardInput(KernelSpec):
    """dx[n,k] = sum_o dy[n,o] w[o,k]; overwritten. Slice: vectors of inputs (of weights.inputs.n_vectors)."""

    dy: Rows
    weights: DenseWeights
    dx: Rows

    @property
    def op(self) -> str:
        return "dense_dx"

    def slice_units(self) -> int:
        return self.dx.n_vectors

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.dx)}_k{self.weights.out}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.dx.n * self.dx.features * self.weights.out

    def check(self) -> None:
        super().check()
        _check_product(self, self.dx, self.weights, self.dy)


@dataclass(frozen=True)
class _DenseWeightGradient(KernelSpec):
    """Base: g[o,k] = sum_n dy[n,o] x[n,k], g_b[o] = sum_n dy[n,o]; a subclass says what becomes of g.

    Slice: quads of outputs; vectors of outputs where the weights' lanes are.
    """

    x: Rows
    dy: Rows
    weights: DenseWeights | DenseWeightsByOutput
    bias: bool

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.bias)

    @property
    def n_blocks(self) -> int:
        """Blocks as large as the layer's parameters that a call goes through."""
        return 1

    def slice_units(self) -> int:
        if isinstance(self.weights, DenseWeightsByOutput):
            return self.weights.n_blocks
        return self.weights.n_quads

    def flops(self) -> int:
        """Of the product, as all products count; a step adds a few for each weight."""
        return 2 * self.x.n * self.x.features * self.weights.out

    def check(self) -> None:
        super().check()
        _check_product(self, self.x, self.weights, self.dy)
        require(self.weights.n_rows % DENSE_QUAD == 0, self, "rows of weights are not whole quads")

    def _lanes(self) -> str:
        return "_by_output" if isinstance(self.weights, DenseWeightsByOutput) else ""

    def _tag(self) -> str:
        """`dense_dw_by_output_n8f784_k128_bias`."""
        return f"{self.op}_{activations_tag(self.x)}_k{self.weights.out}{tags(self.fused)}"


@dataclass(frozen=True)
class DenseBackwardWeights(_DenseWeightGradient):
    """g[o,k] = sum_n dy[n,o] x[n,k], g_b[o] = sum_n dy[n,o], stored as the weights lie: dw, the bias behind it.

    Overwritten. Not written: the zeros behind the biases of the last quad, and without bias that whole part. Slice:
    quads of outputs; vectors of outputs where the weights' lanes are.
    """

    @property
    def op(self) -> str:
        return "dense_dw" + self._lanes()

    def stem(self) -> str:
        return f"{self._tag()}_{dtype_tag(self.x.dtype)}"


@dataclass(frozen=True)
class DenseBackwardWeightsStep(_DenseWeightGradient):
    """g[o,k] = sum_n dy[n,o] x[n,k], g_b[o] = sum_n dy[n,o], and the optimizer's step with them; g is never stored.

    w, bias and states change in place. `update` is the step, as over the layer's whole parameter block; each of its
    states has the block's layout and lies `state_bytes` behind w. Without bias, that part is neither read nor written.
    Slice: quads of outputs of weights by input, vectors of outputs of weights by output. The forward kernel that
    reads the same layout has the same slice, so that a thread updates the weights that it reads in the next step.
    """

    update: Update
    state_bytes: tuple[int, ...]

    @property
    def n_blocks(self) -> int:
        return 1 + self.update.n_states

    @property
    def has_far_states(self) -> bool:
        """Whether a displacement, of 31 bits, from an element of w to its states is not enough."""
        return bool(self.state_bytes) and self.state_bytes[-1] + self.weights.size_bytes >= 1 << 31

    @property
    def op(self) -> str:
        return f"dense_dw_{self.update.kind}" + self._lanes()

    def stem(self) -> str:
        step, apart = self.update.constants_tag(), "".join(f"_s{distance}" for distance in self._distances())
        return f"{self._tag()}{step}{apart}_{dtype_tag(self.x.dtype)}"

    def _distances(self) -> tuple[int, ...]:
        """state_bytes, but for those that follow from the first: states lie at one distance from each other."""
        even = tuple((1 + at) * self.state_bytes[0] for at in range(len(self.state_bytes)))
        return self.state_bytes[:1] if even == self.state_bytes else self.state_bytes

    def check(self) -> None:
        super().check()
        self.update.check()
        require(len(self.state_bytes) == self.update.n_states, self, "one distance for each state")
        block_bytes = self.update.n_vectors * self.update.block * self.weights.element_bytes
        require(block_bytes == self.weights.size_bytes, self, "the step is not over the parameter block")
        distances = (0, *self.state_bytes)
        apart = all(after - before >= block_bytes for before, after in pairwise(distances))
        require(apart, self, "states overlap the weights or each other")
        even = all(distance == at * distances[1] for at, distance in enumerate(distances) if at)
        require(even or not self.has_far_states, self, "states out of a displacement's reach lie at uneven distances")


def _check_product(spec: KernelSpec, x: Rows, weights: DenseWeights | DenseWeightsByOutput, y: Rows) -> None:
    """Raise ValueError unless x, or dx, and y, or dy, are the rows of the layer's input and output."""
    require(weights.inputs == x, spec, "the weights' inputs are not those of the layer")
    require_rows(spec, weights.out, y=y)
