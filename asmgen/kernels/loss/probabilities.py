"""Rows of z become probabilities: the softmax over a row, or the sigmoid of every element.

softmax: with m the largest z of the row, p = e^(z - m) / sum e^(z - m): no exponential overflows, and the sum is at
least 1. Three passes over a row: m; exponentials (left in p) and their sum; p. In padding z counts as -infinity:
its p is 0 either way. A NaN in z makes the whole row NaN.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common import transcendental
from asmgen.kernels.loss.class_rows import ClassRows
from asmgen.plan.specs import Probabilities, dtype_tag
from asmgen.tile.common.count_text import counted

_FORMULAS = {
    "softmax": ("p[n,k] = e^(z[n,k] - m) / sum_j e^(z[n,j] - m), m = max_j z[n,j]",),
    "sigmoid": ("p[n,k] = 1 / (1 + e^-z[n,k])",),
}


def emit(spec: Probabilities, isa: Isa) -> Listing:
    """The listing of one shape: rdi z, rsi p (may be z; overwritten); slice of samples."""
    return _Kernel(spec, isa).emit()


class _Kernel(ClassRows):
    """One emission."""

    def __init__(self, spec: Probabilities, isa: Isa) -> None:
        super().__init__(Assembler(isa, spec.z.dtype, spec.symbol(isa.name)), spec.z)
        self.spec = spec

    def emit(self) -> Listing:
        asm, size = self.asm, self.z.sample_bytes
        with asm:
            self.z_row, self.p_row = asm.argument(0, "z row"), asm.argument(1, "p row")
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.at = asm.gp.alloc("byte offset in the row")
            asm.comment("the slice's first sample")
            x86.SUB(left, begin)
            x86.IMUL(begin, begin, size)
            x86.ADD(self.z_row, begin)
            x86.ADD(self.p_row, begin)
            asm.gp.free(begin)
            self._take_padding_table()
            sample = {"softmax": self._softmax, "sigmoid": self._sigmoid}[self.spec.kind]
            with asm.loop("n", "samples in the slice", left):
                sample()
                asm.move(self.z_row, size, "z: next sample")
                asm.move(self.p_row, size, "p: next sample")
        return asm.finish(self._facts())

    def _softmax(self) -> None:
        asm, v = self.asm, self.v
        largest = self._row_maximum()
        e, total = asm.vec.alloc("e^(z - m)"), asm.vec.alloc("sum")
        asm.comment("exponentials and their sum")
        v.zero(total)
        with self._vectors("exp"):
            self._load_z(e, masked=True)
            v.sub(e, e, largest)
            transcendental.exp(asm, e)
            v.store(self._place(self.p_row), e)
            v.add(total, total, e)
        self._reduce(v.add, total, "sum of the exponentials")
        inv_total: Any = largest
        v.load(inv_total, asm.vector_constant("one", 1.0))
        v.div(inv_total, inv_total, total)
        asm.note("1 / sum")
        asm.comment("p = e^(z - m) / sum")
        with self._vectors("p"):
            v.mul(e, inv_total, self._place(self.p_row))
            v.store(self._place(self.p_row), e)
        asm.vec.free(largest, e, total)

    def _sigmoid(self) -> None:
        p = self.asm.vec.alloc("z, then p")
        with self._vectors("p"):
            self._load_z(p, masked=True)
            transcendental.sigmoid(self.asm, p)
            self.v.store(self._place(self.p_row), p)
        self.asm.vec.free(p)

    def _facts(self) -> Facts:
        spec, z, ctype = self.spec, self.z, dtype_tag(self.z.dtype)
        return Facts(
            title=f"{spec.text}  {z.n} x {z.features}",
            source="asmgen/kernels/loss/probabilities.py",
            formula=_FORMULAS[spec.kind],
            arguments=(
                Argument("rdi", "z", ctype, str(z), "in", "rows 64-byte aligned, padding zero"),
                Argument("rsi", "p", ctype, str(z), "out", "may be z; overwritten, padding zero"),
            ),
            slice_unit=f"samples, 0..{z.n}",
            flops=spec.flops(),
            bytes_read=z.size_bytes,
            bytes_written=z.size_bytes,
            tile=f"1 sample, {counted(self.n_vectors, 'vector')} of {self.asm.lanes}",
        )
