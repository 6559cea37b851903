"""Squares of one 16-byte vector a row, transposed in registers: 4 x 4 float32 or 2 x 2 float64."""

from __future__ import annotations

from typing import Any

from asmgen.asm.assembler import Assembler

ROW_BYTES = 16


class Squares:
    """Registers for the rows of a square, and spare ones; wider than ROW_BYTES: of several squares side by side."""

    def __init__(self, asm: Assembler, width_bytes: int = ROW_BYTES) -> None:
        self.asm = asm
        self.side = ROW_BYTES // asm.element_bytes
        self._whole = [asm.vec.alloc(f"{name} {i}") for name in ("row", "spare") for i in range(self.side)]
        views = [{16: whole.as_xmm, 32: whole.as_ymm}.get(width_bytes, whole) for whole in self._whole]
        self.rows, self._spare = views[: self.side], views[self.side :]

    def free(self) -> None:
        """Give the registers back."""
        self.asm.vec.free(*self._whole)

    def transposed(self) -> list[Any]:
        """The registers that hold the columns of each square; rows and spare registers change."""
        unpack, rows, spare = self.asm.v.unpack, self.rows, self._spare
        if self.side == 2:
            unpack(spare[0], rows[0], rows[1], "PD", high=False)
            unpack(spare[1], rows[0], rows[1], "PD", high=True)
            return spare
        unpack(spare[0], rows[0], rows[1], "PS", high=False)
        self.asm.note("00 10 01 11")
        unpack(spare[1], rows[2], rows[3], "PS", high=False)
        self.asm.note("20 30 21 31")
        unpack(spare[2], rows[0], rows[1], "PS", high=True)
        self.asm.note("02 12 03 13")
        unpack(spare[3], rows[2], rows[3], "PS", high=True)
        self.asm.note("22 32 23 33")
        for i, (low, high) in enumerate(((spare[0], spare[1]), (spare[2], spare[3]))):
            unpack(rows[2 * i], low, high, "PD", high=False)
            unpack(rows[2 * i + 1], low, high, "PD", high=True)
        return rows
