"""How elementwise kernels walk tensors of one shape: as few contiguous runs of vectors as their halos allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asmgen.plan.layout import Activations, Image, Rows

Mask = tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """blocks x rows runs of `vectors` vectors in every tensor, from `first` (bytes from the sample's start) on.

    row_steps, block_steps: bytes from a run to the next, and from a block's first run to the next block's. masks: per
    vector of a run (or one for all), words of all ones in the lanes that hold data; None where all do.
    """

    name: str
    first: tuple[int, ...]
    blocks: int
    rows: int
    vectors: int
    row_steps: tuple[int, ...]
    block_steps: tuple[int, ...]
    masks: tuple[Mask | None, ...] = (None,)

    def end(self) -> tuple[int, ...]:
        """Where the walk leaves off: a block step behind the last block."""
        return tuple(first + self.blocks * step for first, step in zip(self.first, self.block_steps, strict=True))


def segments(layouts: Sequence[Activations], lanes: int, masks_padding: bool) -> tuple[Segment, ...]:
    """The runs of one sample; masks_padding: vectors that hold padding get masks, else they are like all others.

    Raises ValueError for layouts whose lanes are not channels (the planar input of a network).
    """
    images = [layout.source if isinstance(layout, Rows) else layout for layout in layouts]
    if all(image is None for image in images):
        return _row_segments([layout for layout in layouts if isinstance(layout, Rows)], lanes, masks_padding)
    tensors = [image for image in images if image is not None]
    if len(tensors) != len(layouts) or any(image.block != lanes for image in tensors):
        raise ValueError(f"no common runs of {lanes} lanes in {', '.join(map(str, layouts))}")
    return _image_segments(tensors, lanes, masks_padding)


def _lanes_mask(lanes: int, n_data: int) -> Mask:
    return (-1,) * n_data + (0,) * (lanes - n_data)


def _row_segments(layouts: Sequence[Rows], lanes: int, masks_padding: bool) -> tuple[Segment, ...]:
    row = layouts[0]
    n_full = row.features // lanes if masks_padding else row.stride // lanes
    n_rest = row.stride // lanes - n_full
    found = []
    for name, start, vectors in (("full", 0, n_full), ("tail", n_full, n_rest)):
        if vectors:
            data = [max(0, min(lanes, row.features - (start + i) * lanes)) for i in range(vectors)]
            masks = (None,) if name == "full" else tuple(_lanes_mask(lanes, n) for n in data)
            first, step = start * lanes * row.element_bytes, vectors * lanes * row.element_bytes
            same = (step,) * len(layouts)
            found.append(Segment(name, (first,) * len(layouts), 1, 1, vectors, same, same, masks))
    return tuple(found)


def _image_segments(images: Sequence[Image], lanes: int, masks_padding: bool) -> tuple[Segment, ...]:
    image = images[0]
    masked = masks_padding and image.c_tail < lanes
    parts = [("full", 0, image.n_c_blocks - masked, (None,)), ("tail", image.n_c_blocks - 1, int(masked), None)]
    whole_rows = all(t.cols == t.w for t in images)
    whole_planes = whole_rows and all(t.rows == t.h for t in images)
    found = []
    for name, start, blocks, masks in parts:
        if not blocks:
            continue
        rows, vectors = (1, image.h * image.w) if whole_rows else (image.h, image.w)
        row_steps = tuple(vectors * t.pixel_bytes if whole_rows else t.row_bytes for t in images)
        block_steps = tuple(t.plane_bytes for t in images)
        if whole_planes:
            blocks, vectors = 1, blocks * vectors
            row_steps = block_steps = tuple(vectors * t.pixel_bytes for t in images)
        first = tuple(t.offset_bytes(c=start * lanes) for t in images)
        found.append(
            Segment(
                name, first, blocks, rows, vectors, row_steps, block_steps, masks or (_lanes_mask(lanes, image.c_tail),)
            )
        )
    return tuple(found)
