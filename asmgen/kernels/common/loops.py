"""Loops of which the last pass may be shorter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.tile.common.remainder import parts


def in_steps(asm: Assembler, name: str, total: int, size: int, body: Callable[[int], None]) -> None:
    """body(count) for steps of `size` of `total` items, in a loop counted on the stack, then for the remainder."""
    for trips, count in parts(total, size):
        with asm.loop(name, trips, on_stack=True):
            body(count)


class Share:
    """How many of `total` items the current pass covers: `size`, or at the end what is left (then in a stack slot).

    items: what they are, in plural; temp: a general-purpose register that may be overwritten.
    """

    def __init__(self, asm: Assembler, items: str, total: int, size: int, temp: Any) -> None:
        self._asm, self._total, self._size, self._temp = asm, total, size, temp
        self._ragged = total % size != 0
        if self._ragged:
            self._left, self._now = asm.stack_slot(f"{items} left"), asm.stack_slot(f"{items} of this pass")

    def restart(self) -> None:
        """Before the first pass."""
        if self._ragged:
            x86.MOV(self._left, self._total)

    def next(self) -> None:
        """At the top of a pass: now = min(size, left)."""
        if self._ragged:
            full = self._asm.label("full")
            x86.MOV(self._temp, self._size)
            x86.CMP(self._left, self._size)
            x86.JAE(full)
            x86.MOV(self._temp, self._left)
            self._asm.place(full)
            x86.MOV(self._now, self._temp)
            x86.SUB(self._left, self._size)

    def loop(self, name: str, *, on_stack: bool = False) -> Any:
        """A loop over the pass's items."""
        if not self._ragged:
            return self._asm.loop(name, self._size, on_stack=on_stack)
        x86.MOV(self._temp, self._now)
        return self._asm.loop(name, f"{self._size} or fewer", self._temp, on_stack=True)
