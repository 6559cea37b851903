"""The tile transforms of Winograd's convolution as vector code: one channel a lane, one vector of channels at a time.

    input    t = B^T d, v = t B      (m+2) x (m+2) pixels of the source -> as many positions
    output   s = A^T p, z = s A      positions -> m x m sums, the bias added at position (1, 1), where A^T has ones

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
            self.asm.comment(f"rows {pair[0]} and {pair[1]}: t = B^T d, v = t B")
            four = self.asm.vec.alloc("four") if self.m == 4 else None
            if four is not None:
                self.asm.v.load(four, self.asm.vector_constant("four", 4.0))
            rows = self._rows(pair, pixel, four)
            for i, row in zip(pair, rows, strict=True):
                across = self._across4(i, row, four) if self.m == 4 else self._across2(i, row)
                for j, register in enumerate(across):
                    self.asm.v.store([position(i, j)], register)
                    self.asm.note(f"v[{i}][{j}]")
                self.asm.vec.free(*row)
            if four is not None:
                self.asm.vec.free(four)
        self.asm.v.release_scratch()

    def _rows(self, pair: tuple[int, int], pixel: At, four: Any) -> tuple[Row, Row]:
        """Two rows of t = B^T d."""
        alloc, free, v, note = self.asm.vec.alloc, self.asm.vec.free, self.asm.v, self.asm.note
        rows: tuple[Row, Row] = ([], [])
        five = None
        if pair == (0, 5):
            five = alloc("five")
            v.load(five, self.asm.vector_constant("five", 5.0))
        for j in range(self.m + 2):
            low, high = alloc(f"t[{pair[0]}][{j}]"), alloc(f"t[{pair[1]}][{j}]")
            t_low, t_high = (f"t[{i}][{j}]" for i in pair)

            def d(i: int, column: int = j) -> Any:
                return [pixel(i, column)]

            if self.m == 2 and pair == (1, 2):  # d1 + d2, d2 - d1
                one = alloc("d")
                v.load(one, d(1))
                note(f"d[1][{j}]")
                v.load(high, d(2))
                note(f"d[2][{j}]")
                v.add(low, one, high)
                note(f"{t_low} = d1 + d2")
                v.sub(high, high, one)
                note(f"{t_high} = d2 - d1")
                free(one)
            elif self.m == 2:  # d0 - d2, d1 - d3
                for register, name, first in ((low, t_low, 0), (high, t_high, 1)):
                    v.load(register, d(first))
                    note(f"d[{first}][{j}]")
                    v.sub(register, register, d(first + 2))
                    note(f"{name} = d{first} - d{first + 2}")
            elif five is not None:  # 4 d0 - 5 d2 + d4, 4 d1 - 5 d3 + d5
                for register, name, first in ((low, t_low, 0), (high, t_high, 1)):
                    v.load(register, d(first + 4))
                    note(f"d[{first + 4}][{j}]")
                    v.fnma(register, five, d(first + 2))
                    note(f"d{first + 4} - 5 d{first + 2}")
                    v.fma(register, four, d(first))
                    note(f"{name} = 4 d{first} - 5 d{first + 2} + d{first + 4}")
            else:  # (d4 - 4 d2) +- (d3 - 4 d1), or (d4 - d2) +- 2 (d3 - d1)
                other = alloc("odd")
                for register, first in ((high, 2), (other, 1)):
                    v.load(register, d(first + 2))
                    note(f"d[{first + 2}][{j}]")
                    if pair == (1, 2):
                        v.fnma(register, four, d(first))
                        note(f"d{first + 2} - 4 d{first}")
                    else:
                        v.sub(register, register, d(first))
                        note(f"d{first + 2} - d{first}")
                names = (
                    ("(d4 - 4 d2) + (d3 - 4 d1)", "(d4 - 4 d2) - (d3 - 4 d1)")
                    if pair == (1, 2)
                    else ("(d4 - d2) + 2 (d3 - d1)", "(d4 - d2) - 2 (d3 - d1)")
                )
                notes = f"{t_low} = {names[0]}", f"{t_high} = {names[1]}"
                _sum_and_difference(self.asm, low, high, other, notes, doubled=pair == (3, 4))
                free(other)
            rows[0].append(low)
            rows[1].append(high)
        if five is not None:
            free(five)
        return rows

    def _across4(self, i: int, t: Row, four: Any) -> Row:
        """Row i of t B in place, for F4."""
        v, alloc, note = self.asm.v, self.asm.vec.alloc, self.asm.note
        even, odd = alloc("t4 - t2"), alloc("t3 - t1")
        v.sub(even, t[4], t[2])
        note("t4 - t2")
        v.sub(odd, t[3], t[1])
        note("t3 - t1")
        v.sub(t[0], t[0], t[2])
        note("t0 - t2")
        v.mul_add(t[0], four, even)
        note(f"v[{i}][0] = 4 (t0 - t2) + (t4 - t2)")
        v.sub(t[5], t[5], t[3])
        note("t5 - t3")
        v.fnma(t[5], four, odd)
        note(f"v[{i}][5] = (t5 - t3) - 4 (t3 - t1)")
        v.fnma(t[4], four, t[2])
        note("t4 - 4 t2")
        v.fnma(t[3], four, t[1])
        note("t3 - 4 t1")
        v.add(t[1], t[4], t[3])
        note(f"v[{i}][1] = (t4 - 4 t2) + (t3 - 4 t1)")
        v.sub(t[2], t[4], t[3])
        note(f"v[{i}][2] = (t4 - 4 t2) - (t3 - 4 t1)")
        notes = f"v[{i}][3] = (t4 - t2) + 2 (t3 - t1)", f"v[{i}][4] = (t4 - t2) - 2 (t3 - t1)"
        _sum_and_difference(self.asm, t[3], even, odd, notes, doubled=True)
        self.asm.vec.free(t[4], odd)
        t[4] = even
        return t

    def _across2(self, i: int, t: Row) -> Row:
        """Row i of t B in place, for F2."""
        v, one, note = self.asm.v, self.asm.vec.alloc("t1"), self.asm.note
        v.mov(one, t[1])
        note("t1")
        v.sub(t[0], t[0], t[2])
        note(f"v[{i}][0] = t0 - t2")
        v.add(t[1], one, t[2])
        note(f"v[{i}][1] = t1 + t2")
        v.sub(t[2], t[2], one)
        note(f"v[{i}][2] = t2 - t1")
        v.sub(one, one, t[3])
        note(f"v[{i}][3] = t1 - t3")
        self.asm.vec.free(t[3])
        t[3] = one
        return t


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
            self.asm.comment(f"rows {first} to {first + at_once - 1}: s = A^T p, z = s A")
            rows = (
                self._rows4(range(first, first + at_once), position, bias)
                if self.m == 4
                else self._rows2(position, bias)
            )
            for i, row in enumerate(rows, first):
                rest = self._across4(i, row) if self.m == 4 else self._across2(i, row)
                self.asm.vec.free(*rest)
            self.asm.v.release_scratch()
            finish(first, rows)
            self.asm.vec.free(*(register for row in rows for register in row))

    def _first(self, register: Any, i: int, j: int, position: At, bias: Any) -> None:
        """register = p[i][j], with the bias where it belongs."""
        self.asm.v.load(register, [position(i, j)])
        self.asm.note(f"p[{i}][{j}]")
        if bias is not None and (i, j) == (1, 1):
            self.asm.v.add(register, register, [bias])
            self.asm.note("+ bias, which so reaches every z")

    def _rows4(self, wanted: range, position: At, bias: Any) -> list[Row]:
        """Rows of s = A^T p for F4: all of them, or 0 and 1, or 2 and 3."""
        v, alloc, free, note = self.asm.v, self.asm.vec.alloc, self.asm.vec.free, self.asm.note
        (two, four, eight), held = self._constants(hold=len(wanted) == self.m)
        rows: dict[int, Row] = {i: [] for i in wanted}
        for j in range(6):
            a, b, c, d = (alloc(name) for name in ("p1 + p2", "p1 - p2", "p3 + p4", "p3 - p4"))
            for plus, minus, i in ((a, b, 1), (c, d, 3)):
                self._first(minus, i, j, position, bias)
                v.add(plus, minus, [position(i + 1, j)])
                note(f"p{i} + p{i + 1}")
                v.sub(minus, minus, [position(i + 1, j)])
                note(f"p{i} - p{i + 1}")
            if 0 in wanted:
                zero = alloc(f"s[0][{j}]") if 2 in wanted else a
                v.add(zero, a, [position(0, j)])
                note("p0 + p1 + p2")
                v.add(zero, zero, c)
                note(f"s[0][{j}] = p0 + (p1 + p2) + (p3 + p4)")
                one = alloc(f"s[1][{j}]") if 3 in wanted else b
                v.mov(one, b)
                v.fma(one, d, two)
                note(f"s[1][{j}] = (p1 - p2) + 2 (p3 - p4)")
                rows[0].append(zero)
                rows[1].append(one)
            if 2 in wanted:
                v.fma(a, c, four)
                note(f"s[2][{j}] = (p1 + p2) + 4 (p3 + p4)")
                v.add(b, b, [position(5, j)])
                note("p1 - p2 + p5")
                v.fma(b, d, eight)
                note(f"s[3][{j}] = (p1 - p2) + 8 (p3 - p4) + p5")
                rows[2].append(a)
                rows[3].append(b)
            free(c, d)
        free(*held)
        return [rows[i] for i in wanted]

    def _across4(self, i: int, s: Row) -> Row:
        """Row i of s A in place for F4: the row shrinks to its 4 sums; returns the registers left over."""
        v, a, note = self.asm.v, self.asm.vec.alloc("s1 + s2"), self.asm.note
        (two, four, eight), _ = self._constants(hold=False)
        v.add(a, s[1], s[2])
        note("s1 + s2")
        v.sub(s[1], s[1], s[2])
        note("s1 - s2")
        v.add(s[2], s[3], s[4])
        note("s3 + s4")
        v.sub(s[3], s[3], s[4])
        note("s3 - s4")
        v.add(s[0], s[0], a)
        note("s0 + s1 + s2")
        v.add(s[0], s[0], s[2])
        note(f"z[{i}][0] = s0 + (s1 + s2) + (s3 + s4)")
        v.fma(a, s[2], four)
        note(f"z[{i}][2] = (s1 + s2) + 4 (s3 + s4)")
        v.add(s[5], s[5], s[1])
        note("s5 + s1 - s2")
        v.fma(s[5], s[3], eight)
        note(f"z[{i}][3] = (s1 - s2) + 8 (s3 - s4) + s5")
        v.fma(s[1], s[3], two)
        note(f"z[{i}][1] = (s1 - s2) + 2 (s3 - s4)")
        rest = [s[2], s[3], s[4]]
        s[:] = [s[0], s[1], a, s[5]]
        return rest

    def _rows2(self, position: At, bias: Any) -> list[Row]:
        """Both rows of s = A^T p for F2: p0 + p1 + p2, p1 - p2 - p3."""
        v, alloc, note = self.asm.v, self.asm.vec.alloc, self.asm.note
        rows: list[Row] = [[], []]
        for j in range(4):
            low, high = alloc(f"s[0][{j}]"), alloc(f"s[1][{j}]")
            self._first(high, 1, j, position, bias)
            v.add(low, high, [position(2, j)])
            note("p1 + p2")
            v.sub(high, high, [position(2, j)])
            note("p1 - p2")
            v.add(low, low, [position(0, j)])
            note(f"s[0][{j}] = p0 + p1 + p2")
            v.sub(high, high, [position(3, j)])
            note(f"s[1][{j}] = p1 - p2 - p3")
            rows[0].append(low)
            rows[1].append(high)
        return rows

    def _across2(self, i: int, s: Row) -> Row:
        """Row i of s A in place for F2; returns the registers left over."""
        v, note = self.asm.v, self.asm.note
        v.add(s[0], s[0], s[1])
        note("s0 + s1")
        v.add(s[0], s[0], s[2])
        note(f"z[{i}][0] = s0 + s1 + s2")
        v.sub(s[1], s[1], s[2])
        note("s1 - s2")
        v.sub(s[1], s[1], s[3])
        note(f"z[{i}][1] = s1 - s2 - s3")
        rest = s[2:]
        del s[2:]
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


def _sum_and_difference(asm: Assembler, total: Any, a: Any, b: Any, notes: tuple[str, str], *, doubled: bool) -> None:
    """total = a + f b and a = a - f b, with f = 2 where doubled; b may be overwritten. notes: what the two are."""
    v = asm.v
    if doubled and not v.needs_scratch():
        two = asm.vector_constant("two", 2.0)
        v.mov(total, a)
        v.fma(total, b, two)
        asm.note(notes[0])
        v.fnma(a, b, two)
        asm.note(notes[1])
        return
    if doubled:
        v.add(b, b, b)
        asm.note("doubled")
    v.add(total, a, b)
    asm.note(notes[0])
    v.sub(a, a, b)
    asm.note(notes[1])
