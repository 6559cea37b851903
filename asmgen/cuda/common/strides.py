"""Where the elements of images lie, in elements, as the text of a kernel needs it."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.errors import ReachError
from asmgen.plan.layout import Activations, Image, Rows

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
    """Raises ReachError where an index would not fit 32 bits."""
    if elements > _MAX_INDEX:
        raise ReachError(f"it indexes {elements} elements; at most {_MAX_INDEX}")


def as_image(layout: Activations) -> Image:
    """The image behind a flattened view; other rows as images of one pixel."""
    if isinstance(layout, Rows):
        return layout.source or Image(layout.n, layout.features, 1, 1, layout.block, layout.dtype)
    return layout
