"""What kernels on rows of outputs share: the walk over a row, the class of each of its elements, its largest one.

A row of z is walked vector by vector. Which output stands in which lane comes from a table (`class`, -1 in padding), so
that a row may be the flattened view of an image; where a row has padding, adding a second table (`padding`, 0 or
-infinity) keeps it out of maxima and sums. One output stands for class 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.lanes import reduce_lanes
from asmgen.plan.layout import Rows


def classes(z: Rows) -> list[int]:
    """The output at every position of a row of z; -1 in padding. A single output is class 1."""
    row = replace(z, n=1, source=replace(z.source, n=1) if z.source else None)
    numbers = np.arange(z.features) + 1 if z.features > 1 else np.array([2])
    return [int(number) - 1 for number in row.pack(numbers[None])]


class ClassRows:
    """The rows of one emission. `z_row` points to the sample's row, `at` is a register for byte offsets in a row."""

    z_row: Any
    at: Any

    def __init__(self, asm: Assembler, z: Rows) -> None:
        self.asm, self.v, self.z = asm, asm.v, z
        self.classes = classes(z)
        self.has_padding = -1 in self.classes
        self.n_vectors = z.stride // asm.lanes

    def _take_class_table(self) -> None:
        self._class_table = self._table("class", [float(c) for c in self.classes], "class of every position")

    def _take_padding_table(self) -> None:
        if self.has_padding:
            padding = [-math.inf if c < 0 else 0.0 for c in self.classes]
            self._padding_table = self._table("padding", padding, "-infinity where no output is")

    def _table(self, name: str, values: Sequence[float], note: str) -> Any:
        """The operand for the vector of a table as long as a row that the body of `_vectors` works on."""
        table = self.asm.vector_constant(name, values, note)
        if self.n_vectors == 1:
            return table
        row = self.asm.gp.alloc(f"{name} table")
        x86.LEA(row, table)
        return [row + self.at * 1]

    @contextmanager
    def _vectors(self, name: str) -> Iterator[None]:
        """Repeat the body for every vector of a row."""
        if self.n_vectors == 1:
            yield
            return
        x86.XOR(self.at.as_dword, self.at.as_dword)
        with self.asm.loop(name, self.n_vectors):
            yield
            self.asm.move(self.at, self.asm.isa.vector_bytes, "next vector of the row")

    def _place(self, row: Any) -> Any:
        """The vector of `row` (a pointer like z_row) that the body of `_vectors` works on."""
        return [row] if self.n_vectors == 1 else [row + self.at * 1]

    def _load_z(self, dst: Any, *, masked: bool) -> None:
        """dst = a vector of z; masked: -infinity in padding."""
        self.v.load(dst, self._place(self.z_row))
        if masked and self.has_padding:
            self.v.add(dst, dst, self._padding_table)

    def _reduce(self, operation: Any, register: Any, name: str) -> None:
        spare = self.asm.vec.alloc("spare")
        reduce_lanes(self.asm, operation, register, spare, name)
        self.asm.vec.free(spare)

    def _row_maximum(self) -> Any:
        """A register with the largest z of the row in every lane."""
        asm, v = self.asm, self.v
        asm.comment("the largest z")
        largest, z = asm.vec.alloc("largest z"), asm.vec.alloc("z")
        v.load(largest, asm.vector_constant("minus_infinity", -math.inf))
        with self._vectors("max"):
            self._load_z(z, masked=True)
            v.max(largest, largest, z)
        self._reduce(v.max, largest, "largest z")
        asm.vec.free(z)
        return largest
