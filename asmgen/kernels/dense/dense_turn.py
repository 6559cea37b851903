"""A few vectors of outputs of a dense layer's weights, turned on the frame: lanes = outputs, from lanes = inputs.

V outputs x 4 (float64: 2) inputs are transposed at a time, in squares of 16-byte rows: those of outputs i, i + 4, ...
are the parts of one register, so that a column of all squares is a vector of the copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common.transpose import ROW_BYTES, Squares
from asmgen.plan.layout import DenseWeights, round_up


@dataclass(frozen=True)
class Turned:
    """The copy `[vectors][inputs padded to a square][V]` of the weights' first `terms` inputs."""

    weights: DenseWeights
    terms: int

    @property
    def row_bytes(self) -> int:
        """From an input to the next."""
        return self.weights.block * self.weights.element_bytes

    @property
    def vector_bytes(self) -> int:
        """From a vector of outputs to the next."""
        return round_up(self.terms, ROW_BYTES // self.weights.element_bytes) * self.row_bytes

    def emit(self, asm: Assembler, w: Any, copy: Any, vectors: int) -> None:
        """The `vectors` of outputs whose rows begin at w (a register, kept); copy: on the frame."""
        weights = self.weights
        asm.phase("turning the weights")
        asm.comment(f"the weights' lanes turned: copy[o/V][k][o%V] = w[o][k], {vectors * weights.block} outputs")
        squares = Squares(asm, asm.isa.vector_bytes)
        w_at, copy_at = asm.gp.alloc("w at k"), asm.gp.alloc("copy at k")
        x86.MOV(w_at, w)
        x86.LEA(copy_at, [copy])
        steps = self.vector_bytes // (squares.side * self.row_bytes)
        with asm.loop("turn_o", vectors):
            with asm.loop("turn_k", steps):
                for row, register in enumerate(squares.rows):
                    for part, output in enumerate(range(row, weights.block, squares.side)):
                        asm.v.insert_part(register, [w_at + output * weights.row_bytes], part)
                        asm.note(f"output {output}: {squares.side} inputs")
                for row, register in enumerate(squares.transposed()):
                    asm.v.store([copy_at + row * self.row_bytes], register)
                    asm.note(f"k+{row}: {weights.block} outputs")
                asm.move(w_at, ROW_BYTES, f"w: next {squares.side} inputs")
                asm.move(copy_at, squares.side * self.row_bytes, f"copy: next {squares.side} rows")
            if vectors > 1:
                asm.move(
                    w_at,
                    weights.block * weights.row_bytes - steps * ROW_BYTES,
                    f"w: next {weights.block} outputs, first input",
                )
        asm.gp.free(w_at, copy_at)
        squares.free()
        asm.phase()
