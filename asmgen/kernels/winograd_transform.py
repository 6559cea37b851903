"""The tile transforms of Winograd's convolution as vector code: one channel a lane, one vector of channels at a time.

    input    v = B^T d B      (m+2) x (m+2) pixels of the source -> as many positions
    output   z = A^T p A      positions -> m x m sums, the bias added at position (1, 1), where A^T has a column of ones

Both are done as rows of the left factor first, as many at a time as the registers hold, each then multiplied with the
right one in place. Matrices: asmgen/plan/winograd.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler

Row = list[Any]  # registers
At = Callable[[int, int], Any]  # (i, j) -> address of an element of a tile

_ALL_ROWS_REGISTERS = 30  # F4's output transform with all rows at once
_POWERS = (("two", 2.0), ("four", 4.0), ("eight", 8.0))


@dataclass(frozen=True)
class InputTransform:
    """v = B^T d B for one vector of channels."""

    asm: Assembler
    m: int

    def emit(self, pixel: At, position: At) -> None:
        """pixel(i, j): the address of pixel (i, j) of the tile; position(i, j): where element (i, j) of v goes."""
        pairs = ((1, 2), (3, 4), (0, 5)) if self.m == 4 else ((1, 2), (0, 3))
        for pair in pairs:
            self.asm.comment(f"rows {pair[0]} and {pair[1]} of B^T d, times B")
            four = self.asm.vec.alloc("four") if self.m == 4 else None
            if four is not None:
                self.asm.v.load(four, self.asm.vector_constant("four", 4.0))
            rows = self._rows(pair, pixel, four)
            for i, row in zip(pair, rows, strict=True):
                for j, register in enumerate(self._across4(row, four) if self.m == 4 else self._across2(row)):
                    self.asm.v.store([position(i, j)], register)
                self.asm.vec.free(*row)
            if four is not None:
                self.asm.vec.free(four)
        self.asm.v.release_scratch()

    def _rows(self, pair: tuple[int, int], pixel: At, four: Any) -> tuple[Row, Row]:
        """Two rows of B^T d."""
        alloc, free, v = self.asm.vec.alloc, self.asm.vec.free, self.asm.v
        rows: tuple[Row, Row] = ([], [])
        five = None
        if pair == (0, 5):
            five = alloc("five")
            v.load(five, self.asm.vector_constant("five", 5.0))
        for j in range(self.m + 2):
            low, high = alloc(f"row[{j}]"), alloc(f"next row[{j}]")

            def d(i: int, column: int = j) -> Any:
                return [pixel(i, column)]

            if self.m == 2 and pair == (1, 2):  # d1 + d2, d2 - d1
                one = alloc("d")
                v.load(one, d(1))
                v.load(high, d(2))
                v.add(low, one, high)
                v.sub(high, high, one)
                free(one)
            elif self.m == 2:  # d0 - d2, d1 - d3
                v.load(low, d(0))
                v.sub(low, low, d(2))
                v.load(high, d(1))
                v.sub(high, high, d(3))
            elif five is not None:  # 4 d0 - 5 d2 + d4, 4 d1 - 5 d3 + d5
                for register, first in ((low, 0), (high, 1)):
                    v.load(register, d(first + 4))
                    v.fnma(register, five, d(first + 2))
                    v.fma(register, four, d(first))
            else:  # (d4 - 4 d2) +- (d3 - 4 d1), or (d4 - d2) +- 2 (d3 - d1)
                other = alloc("odd")
                for register, first in ((high, 2), (other, 1)):
                    v.load(register, d(first + 2))
                    if pair == (1, 2):
                        v.fnma(register, four, d(first))
                    else:
                        v.sub(register, register, d(first))
                _sum_and_difference(self.asm, low, high, other, doubled=pair == (3, 4))
                free(other)
            rows[0].append(low)
            rows[1].append(high)
        if five is not None:
            free(five)
        return rows

    def _across4(self, d: Row, four: Any) -> Row:
        """d B in place, for F4."""
        v, alloc = self.asm.v, self.asm.vec.alloc
        even, odd = alloc("d[4] - d[2]"), alloc("d[3] - d[1]")
        v.sub(even, d[4], d[2])
        v.sub(odd, d[3], d[1])
        v.sub(d[0], d[0], d[2])
        v.mul_add(d[0], four, even)
        v.sub(d[5], d[5], d[3])
        v.fnma(d[5], four, odd)
        v.fnma(d[4], four, d[2])
        v.fnma(d[3], four, d[1])
        v.add(d[1], d[4], d[3])
        v.sub(d[2], d[4], d[3])
        _sum_and_difference(self.asm, d[3], even, odd, doubled=True)
        self.asm.vec.free(d[4], odd)
        d[4] = even
        return d

    def _across2(self, d: Row) -> Row:
        """d B in place, for F2."""
        v, one = self.asm.v, self.asm.vec.alloc("d1")
        v.mov(one, d[1])
        v.sub(d[0], d[0], d[2])
        v.add(d[1], one, d[2])
        v.sub(d[2], d[2], one)
        v.sub(one, one, d[3])
        self.asm.vec.free(d[3])
        d[3] = one
        return d


@dataclass(frozen=True)
class OutputTransform:
    """z = A^T p A for one vector of channels, a few rows at a time."""

    asm: Assembler
    m: int

    def emit(self, position: At, bias: Any, finish: Callable[[int, list[Row]], None]) -> None:
        """position(i, j): the address of element (i, j) of p; bias: an address, or None.

        finish(row, rows) gets rows `row`, `row + 1`, ... of z, m registers each, which it may overwrite.
        """
        at_once = self.m if self.m == 2 or self.asm.vec.n_free() >= _ALL_ROWS_REGISTERS else 2
        for first in range(0, self.m, at_once):
            self.asm.comment(f"rows {first} to {first + at_once - 1} of A^T p, times A")
            rows = (
                self._rows4(range(first, first + at_once), position, bias)
                if self.m == 4
                else self._rows2(position, bias)
            )
            for row in rows:
                rest = self._across4(row) if self.m == 4 else self._across2(row)
                self.asm.vec.free(*rest)
            self.asm.v.release_scratch()
            finish(first, rows)
            self.asm.vec.free(*(register for row in rows for register in row))

    def _first(self, register: Any, i: int, j: int, position: At, bias: Any) -> None:
        """register = p[i][j], with the bias where it belongs."""
        self.asm.v.load(register, [position(i, j)])
        if bias is not None and (i, j) == (1, 1):
            self.asm.v.add(register, register, [bias])
            self.asm.note("+ bias")

    def _rows4(self, wanted: range, position: At, bias: Any) -> list[Row]:
        """Rows of A^T p for F4: all of them, or 0 and 1, or 2 and 3."""
        v, alloc, free = self.asm.v, self.asm.vec.alloc, self.asm.vec.free
        (two, four, eight), held = self._constants(hold=len(wanted) == self.m)
        rows: dict[int, Row] = {i: [] for i in wanted}
        for j in range(6):
            a, b, c, d = (alloc(name) for name in ("p1 + p2", "p1 - p2", "p3 + p4", "p3 - p4"))
            for plus, minus, i in ((a, b, 1), (c, d, 3)):
                self._first(minus, i, j, position, bias)
                v.add(plus, minus, [position(i + 1, j)])
                v.sub(minus, minus, [position(i + 1, j)])
            if 0 in wanted:
                zero = alloc(f"z row 0[{j}]") if 2 in wanted else a
                v.add(zero, a, [position(0, j)])
                v.add(zero, zero, c)
                one = alloc(f"z row 1[{j}]") if 3 in wanted else b
                v.mov(one, b)
                v.fma(one, d, two)
                rows[0].append(zero)
                rows[1].append(one)
            if 2 in wanted:
                v.fma(a, c, four)
                v.add(b, b, [position(5, j)])
                v.fma(b, d, eight)
                rows[2].append(a)
                rows[3].append(b)
            free(c, d)
        free(*held)
        return [rows[i] for i in wanted]

    def _across4(self, p: Row) -> Row:
        """p A in place for F4: the row shrinks to its 4 sums; returns the registers left over."""
        v, a = self.asm.v, self.asm.vec.alloc("p1 + p2")
        (two, four, eight), _ = self._constants(hold=False)
        v.add(a, p[1], p[2])
        v.sub(p[1], p[1], p[2])
        v.add(p[2], p[3], p[4])
        v.sub(p[3], p[3], p[4])
        v.add(p[0], p[0], a)
        v.add(p[0], p[0], p[2])
        v.fma(a, p[2], four)
        v.add(p[5], p[5], p[1])
        v.fma(p[5], p[3], eight)
        v.fma(p[1], p[3], two)
        rest = [p[2], p[3], p[4]]
        p[:] = [p[0], p[1], a, p[5]]
        return rest

    def _rows2(self, position: At, bias: Any) -> list[Row]:
        """Both rows of A^T p for F2: p0 + p1 + p2, p1 - p2 - p3."""
        v, alloc = self.asm.v, self.asm.vec.alloc
        rows: list[Row] = [[], []]
        for j in range(4):
            low, high = alloc(f"z row 0[{j}]"), alloc(f"z row 1[{j}]")
            self._first(high, 1, j, position, bias)
            v.add(low, high, [position(2, j)])
            v.sub(high, high, [position(2, j)])
            v.add(low, low, [position(0, j)])
            v.sub(high, high, [position(3, j)])
            rows[0].append(low)
            rows[1].append(high)
        return rows

    def _across2(self, p: Row) -> Row:
        """p A in place for F2; returns the registers left over."""
        v = self.asm.v
        v.add(p[0], p[0], p[1])
        v.add(p[0], p[0], p[2])
        v.sub(p[1], p[1], p[2])
        v.sub(p[1], p[1], p[3])
        rest = p[2:]
        del p[2:]
        return rest

    def _constants(self, *, hold: bool) -> tuple[list[Any], Row]:
        """2, 4 and 8 as operands, and the registers that hold them (none: they are read from memory)."""
        operands: list[Any] = [self.asm.vector_constant(name, value) for name, value in _POWERS]
        if not hold:
            return operands, []
        held = [self.asm.vec.alloc(name) for name, _ in _POWERS]
        for register, operand in zip(held, operands, strict=True):
            self.asm.v.load(register, operand)
        return held, held


def _sum_and_difference(asm: Assembler, total: Any, a: Any, b: Any, *, doubled: bool) -> None:
    """total = a + f b and a = a - f b, with f = 2 where doubled; b may be overwritten."""
    v = asm.v
    if doubled and not v.needs_scratch():
        two = asm.vector_constant("two", 2.0)
        v.mov(total, a)
        v.fma(total, b, two)
        v.fnma(a, b, two)
        return
    if doubled:
        v.add(b, b, b)
    v.add(total, a, b)
    v.sub(a, a, b)
