"""Counts in the text of tiles and notes."""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """`1 channel`, `4 channels`; `thing` is singular, its plural ends in s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
