"""Moves a few neighbouring elements, fewer than a vector or whole ones, without touching any beside them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler

_VIEWS = {16: "as_xmm", 32: "as_ymm", 64: "as_zmm"}
_GP_BYTES = 8  # pieces up to here go through a general-purpose register


class Mover:
    """Pieces are as large as the elements allow; a ragged end is a piece that overlaps the one before."""

    def __init__(self, asm: Assembler) -> None:
        self._asm = asm
        self._vector, self._word = asm.vec.alloc("elements on their way"), asm.gp.alloc("elements on their way")

    def copy(self, dst: Any, src: Any, n_elements: int) -> None:
        """The elements at address dst = those at src."""
        for at, size in self._pieces(n_elements):
            if size > _GP_BYTES:
                self._asm.v.load(self._view(size), [src + at])
            else:
                x86.MOV(self._half(size), [src + at])
            self._store(dst + at, size)

    def clear(self, dst: Any, n_elements: int) -> None:
        """The elements at address dst = 0."""
        pieces = list(self._pieces(n_elements))
        if pieces and pieces[0][1] > _GP_BYTES:
            self._asm.v.zero(self._vector)
        elif pieces:
            x86.XOR(self._word.as_dword, self._word.as_dword)
        for at, size in pieces:
            self._store(dst + at, size)

    def _pieces(self, n_elements: int) -> Iterator[tuple[int, int]]:
        """(byte offset, bytes), all of one size."""
        n_bytes = n_elements * self._asm.element_bytes
        if not n_bytes:
            return
        size = min(self._asm.isa.vector_bytes, 1 << n_bytes.bit_length() - 1)
        for at in range(0, n_bytes - size + 1, size):
            yield at, size
        if n_bytes % size:
            yield n_bytes - size, size

    def _store(self, address: Any, size: int) -> None:
        if size > _GP_BYTES:
            self._asm.v.store([address], self._view(size))
        else:
            x86.MOV([address], self._half(size))

    def _view(self, size: int) -> Any:
        return attrgetter(_VIEWS[size])(self._vector)

    def _half(self, size: int) -> Any:
        return self._word if size == _GP_BYTES else self._word.as_dword
