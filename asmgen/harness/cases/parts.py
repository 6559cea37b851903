"""Weight gradients in parts of the samples: what is compared is their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from asmgen.harness.cases.case import Array, Operand, unwritten_weights, weights_padding_check
from asmgen.plan import specs
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput


@dataclass(frozen=True)
class Parts:
    """`n_parts` blocks of sums in `layout`, part_stride_bytes apart; of one part, the block alone."""

    layout: ConvWeights | ConvWeightsByInput
    n_parts: int
    bias: bool

    def operand(self) -> Operand:
        """Memory that must be overwritten but for the padding."""
        one = unwritten_weights(self.layout, bias=self.bias)
        whole = np.zeros((self.n_parts, self._stride), one.dtype)
        whole[:, : one.size] = one
        return Operand("dw", whole.reshape(-1), is_output=True)

    def total(self, which: int) -> Callable[[Array], Array]:
        """The sum of the parts' weights (0) or biases (1), in float64."""
        return lambda flat: np.asarray(
            np.sum([self.layout.unpack(part)[which] for part in self._parts(flat)], 0, np.float64)
        )

    def padding_check(self, at: int) -> Callable[[list[Array]], Iterable[str]]:
        """The padding of every part of operand `at`."""

        def padding(memory: list[Array]) -> Iterable[str]:
            for part in self._parts(memory[at]):
                yield from weights_padding_check("dw", 0, self.layout)([part])

        return padding

    @property
    def _size(self) -> int:
        return self.layout.size_bytes // self.layout.element_bytes

    @property
    def _stride(self) -> int:
        return specs.part_stride_bytes(self.layout) // self.layout.element_bytes if self.n_parts > 1 else self._size

    def _parts(self, flat: Array) -> list[Array]:
        return list(flat.reshape(self.n_parts, self._stride)[:, : self._size])
