"""What the emitters of matrix products share: strides in elements, and limits of 32-bit indexing."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.listing import Launch
from asmgen.plan.layout import Image
from asmgen.plan.specs import Conv

_MAX_INDEX = 2**31 - 1


@dataclass(frozen=True)
class Strides:
    """Of an image, in elements; origin: of pixel (0, 0) behind the halo."""

    pixel: int
    row: int
    plane: int
    sample: int
    origin: int

    @staticmethod
    def of(image: Image) -> Strides:
        size = image.element_bytes
        check_size(image.size_bytes // size)
        bytes_ = image.pixel_bytes, image.row_bytes, image.plane_bytes, image.sample_bytes, image.offset_bytes()
        return Strides(*(value // size for value in bytes_))

    def at(self, row: int, column: int) -> int:
        """Element offset of an interior pixel, or one in the halo."""
        return self.origin + row * self.row + column * self.pixel


def check_size(elements: int) -> None:
    """Raises ValueError where an index would not fit 32 bits."""
    if elements > _MAX_INDEX:
        raise ValueError(f"a tensor of {elements} elements: kernels index with 32 bits")


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
        """Many parts of few elements: several threads share the parts of a vector."""
        adders = max(count for count in (1, 2, 4, 8) if count == 1 or 4 * count <= parts)
        return Adding(name, elements, parts, adders, 256 // adders if adders < 8 else 32, element_bytes)

    @property
    def workspace_bytes(self) -> int:
        return self.parts * self.elements * self.element_bytes

    def launch(self, args: tuple[str, ...]) -> Launch:
        blocks = -(-self.elements * self.element_bytes // (16 * self.vectors))
        shared_bytes = 16 * self.adders * self.vectors if self.adders > 1 else 0
        return Launch(self.name, (blocks, 1, 1), self.adders * self.vectors, shared_bytes, args)
