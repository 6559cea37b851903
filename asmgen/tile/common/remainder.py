"""Splitting a count into full pieces and a remainder."""

from __future__ import annotations


def parts(total: int, size: int) -> list[tuple[int, int]]:
    """(how many, of which size): `total` split into full pieces, then one of what is left; none is empty."""
    full, tail = divmod(total, size)
    return [(count, extent) for count, extent in ((full, size), (1 if tail else 0, tail)) if count]
