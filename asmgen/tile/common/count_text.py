"""Counts in the text of tiles and notes."""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """`1 channel`, `4 channels`; `thing` is singular, its plural ends in s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def advance(count: int, thing: str) -> str:
    """`next row`, `next 4 rows`, `back 4 rows`: where a pointer goes that moves by `count`."""
    if count < 0:
        return f"back {counted(-count, thing)}"
    return f"next {thing}" if count == 1 else f"next {counted(count, thing)}"
