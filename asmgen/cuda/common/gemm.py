"""What the emitters of matrix products share."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import Launch
from asmgen.plan.specs import Conv


def misses(conv: Conv) -> float:
    """Estimated share of the pixels that taps read which no tap before them has brought into L1."""
    return min(1.0, 2 * conv.sh * conv.sw / (conv.weights.kh * conv.weights.kw))


@dataclass(frozen=True)
class Adding:
    """The launch that adds the `parts` of a split sum of `elements`: `adders` threads for each vector of a block."""

    name: str
    elements: int
    parts: int
    adders: int
    vectors: int
    element_bytes: int

    @staticmethod
    def of(name: str, elements: int, parts: int, element_bytes: int) -> Adding:
        """Many parts of few elements: several threads share the parts of a vector.

        Raises ReachError where an index into the parts would not fit 32 bits.
        """
        check_size(parts * elements)
        adders = max(count for count in (1, 2, 4, 8) if count == 1 or 4 * count <= parts)
        return Adding(name, elements, parts, adders, 256 // adders if adders < 8 else 32, element_bytes)

    @property
    def workspace_bytes(self) -> int:
        return self.parts * self.elements * self.element_bytes

    def launch(self, args: tuple[str, ...]) -> Launch:
        blocks = -(-self.elements * self.element_bytes // (16 * self.vectors))
        shared_bytes = 16 * self.adders * self.vectors if self.adders > 1 else 0
        return Launch(self.name, (blocks, 1, 1), self.adders * self.vectors, shared_bytes, args)
