"""Sizes that all layouts share."""

from __future__ import annotations

ELEMENT_BYTES = {"float32": 4, "float64": 8}
LINE_BYTES = 64  # alignment of every tensor in the arena
DENSE_QUAD = 4  # outputs that a dense kernel takes together on every ISA; inputs, where its lanes are outputs


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is >= value."""
    return -(-value // multiple) * multiple
