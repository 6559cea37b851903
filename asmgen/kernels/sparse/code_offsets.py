"""Argmax codes become byte offsets of the pixels that they name."""

from __future__ import annotations

from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.plan.specs import Pool

_CODE_BITS = 16  # code * ceil(2^16 / pw) >> 16 = code // pw for every u8 code and pw


class CodeOffsets:
    """offset(code) = code // pw * row_bytes + code % pw * column_bytes, for windows of any size.

    = code * column_bytes + code // pw * (row_bytes - pw * column_bytes). Holds two vectors until `release`.
    """

    def __init__(self, asm: Assembler, pool: Pool, row_bytes: int, column_bytes: int) -> None:
        self._asm, self._pool = asm, pool
        self._column_bytes = column_bytes
        self._row_step = row_bytes - pool.pw * column_bytes if pool.ph > 1 else 0
        self._offset = asm.vec.alloc("offset of the maximum")
        self._row = asm.vec.alloc("row in the window")

    def __call__(self, codes: Any) -> Any:
        """The offsets of V codes at an address, in integer lanes; the register holds them until the next call."""
        asm, v, pw = self._asm, self._asm.v, self._pool.pw
        v.load_bytes(self._offset, codes)
        asm.note("codes: V bytes to integer lanes")
        if self._row_step:
            if pw & (pw - 1) == 0:
                v.shift_right(self._row, self._offset, pw.bit_length() - 1)
            else:
                v.integer_mul(self._row, self._offset, self._constant("reciprocal", -(-(1 << _CODE_BITS) // pw)))
                v.shift_right(self._row, self._row, _CODE_BITS)
            v.integer_mul(self._row, self._row, self._constant("row_step", abs(self._row_step)))
        v.integer_mul(self._offset, self._offset, self._constant("column_bytes", self._column_bytes))
        if self._row_step > 0:
            v.integer_add(self._offset, self._offset, self._row)
        elif self._row_step < 0:
            v.integer_sub(self._offset, self._offset, self._row)
        return self._offset

    def release(self) -> None:
        """Give the vectors back."""
        self._asm.vec.free(self._offset, self._row)

    def _constant(self, name: str, value: int) -> Any:
        return self._asm.integer_constant(f"window_{name}", value)
