"""Sums in parts: weight gradients with few blocks of outputs are summed over parts of the samples, then added.

A gradient whose outputs are too few to go around gives the threads nothing to share. Its samples are then dealt to
sample parts, as many as the plan says and whatever the number of threads: the slice counts (part, block) pairs, each
part has a block of sums of its own, and SumParts adds these in the order of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES, ConvWeights, ConvWeightsByInput, round_up
from asmgen.plan.specs.base import KernelSpec, dtype_tag, require


def parts_tag(sample_parts: int) -> str:
    return f"_parts{sample_parts}" if sample_parts > 1 else ""


def part_stride_bytes(weights: ConvWeights | ConvWeightsByInput) -> int:
    """From the sums of a part to those of the next."""
    return round_up(weights.size_bytes, LINE_BYTES)


@dataclass(frozen=True)
class SumParts(KernelSpec):
    """dw[i] = parts[0][i] + parts[1][i] + ..., in this order; parts lie `stride_bytes` apart. Arguments: parts, dw."""

    n_parts: int
    n_vectors: int
    block: int
    stride_bytes: int
    dtype: str

    @staticmethod
    def of(weights: ConvWeights | ConvWeightsByInput, n_parts: int, *, bias: bool) -> SumParts:
        """Of weight gradients; without a bias its place is neither read nor written."""
        summed = weights.size_bytes if bias else weights.bias_offset_bytes
        vectors = summed // (weights.block * weights.element_bytes)
        return SumParts(n_parts, vectors, weights.block, part_stride_bytes(weights), weights.dtype)

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def summed_bytes(self) -> int:
        """Of a part."""
        return self.n_vectors * self.block * self.element_bytes

    @property
    def op(self) -> str:
        return "sum_parts"

    def slice_units(self) -> int:
        return self.n_vectors

    def stem(self) -> str:
        apart = "" if self.stride_bytes == round_up(self.summed_bytes, LINE_BYTES) else f"_s{self.stride_bytes}"
        return f"{self.op}_{self.n_parts}v{self.n_vectors}{apart}_{dtype_tag(self.dtype)}"

    def flops(self) -> int:
        return (self.n_parts - 1) * self.n_vectors * self.block

    def check(self) -> None:
        super().check()
        require(self.n_parts > 1, self, "one part is the sum")
        require(self.summed_bytes <= self.stride_bytes, self, "parts overlap")
