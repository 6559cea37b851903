"""What the losses share: the loop over samples, absent samples, labels, predictions.

One output stands for class 1 (asmgen/kernels/loss/class_rows.py): its target is the label itself.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.loss.class_rows import ClassRows
from asmgen.plan.specs import Loss, dtype_tag
from asmgen.tile.common.count_text import counted

_INV_COUNT_AT, PRESENT_AT = 0, 8  # in the loss block
_NO_CLASS = float(1 << 24)


class LossKernel(ClassRows):
    """One emission. A loss fills in `_prepare` (once a call), `_sample` (one present sample) and `formula`."""

    formula: tuple[str, ...] = ()

    def __init__(self, spec: Loss, isa: Isa) -> None:
        super().__init__(Assembler(isa, spec.z.dtype, spec.symbol(isa.name)), spec.z)
        self.spec, self.has_gradient = spec, spec.gradient

    def emit(self) -> Listing:
        """The listing: a loop over samples, each through the hooks below or, where absent, cleared."""
        asm, z = self.asm, self.z
        with asm:
            self.z_row, self.labels = asm.argument(0, "z row"), asm.argument(1, "labels")
            if self.has_gradient:
                self.dz_row = asm.argument(2, "dz row")
            self.block = asm.argument(3, "loss block")
            self.n, left = asm.argument(4, "n"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.at = asm.gp.alloc("byte offset in the row")
            self.present = asm.gp.alloc("samples present")
            asm.comment("the slice's first sample")
            x86.IMUL(self.at, self.n, z.sample_bytes)
            for row, _ in self._rows():
                x86.ADD(row, self.at)
            x86.SUB(left, self.n)
            x86.MOV(self.present.as_dword, [self.block + PRESENT_AT])
            self._take_class_table()
            self._take_padding_table()
            self._take_inv_count()
            self.label = asm.vec.alloc("label")
            self._prepare()
            with asm.loop("n", "samples in the slice", left):
                self._sample_or_absent()
                for row, name in self._rows():
                    asm.move(row, z.sample_bytes, f"{name}: next sample")
                asm.move(self.n, 1, "next sample")
        return asm.finish(self._facts())

    # to be filled in -----------------------------------------------------------------------------------------------

    def _take_inv_count(self) -> None:
        """The factor that makes slopes those of the mean."""
        if self.has_gradient:
            self.inv_count = self.asm.vec.alloc("1 / present")
            self.v.broadcast(self.inv_count, [self.block + _INV_COUNT_AT])

    def _prepare(self) -> None:
        """Constants that stay in registers."""

    def _sample(self) -> None:
        """dz, loss and prediction of one sample; its label stands in every lane of self.label."""
        raise NotImplementedError

    # rows ----------------------------------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[Any, str]]:
        """The pointers that move from row to row, and what they point at."""
        z = (self.z_row, "z")
        return [z, (self.dz_row, "dz")] if self.has_gradient else [z]

    def _is_label(self, mask: Any, spare: Any) -> None:
        """mask = the lane of the sample's label; spare = the lanes' classes."""
        self.v.load(spare, self._class_table)
        self.v.equal(mask, spare, self.label)

    # samples -------------------------------------------------------------------------------------------------------

    def _sample_or_absent(self) -> None:
        asm = self.asm
        absent, done = asm.label("absent"), asm.label("sample_done")
        x86.CMP(self.n, self.present)
        x86.JAE(absent)
        self.v.broadcast_u32(self.label, [self.labels + self.n * 4])
        self._sample()
        x86.JMP(done)
        asm.place(absent)
        asm.comment(f"absent: {'dz = 0, ' if self.has_gradient else ''}loss = 0, prediction 0")
        self.v.zero(self.label)
        if self.has_gradient:
            with self._vectors("absent"):
                self.v.store(self._place(self.dz_row), self.label)
        self._store_loss(self.label)
        x86.XOR(self.at.as_dword, self.at.as_dword)
        self._store_prediction()
        asm.place(done)

    def _store_loss(self, loss: Any) -> None:
        """losses[n] = lane 0."""
        z = self.z
        self.v.store_scalar([self.block + self.n * z.element_bytes + self.spec.losses_offset_bytes], loss)

    def _store_prediction(self) -> None:
        """preds[n] = self.at."""
        x86.MOV([self.block + self.n * 4 + self.spec.preds_offset_bytes], self.at.as_dword)

    # predictions of several outputs --------------------------------------------------------------------------------

    def _first_class(self) -> Any:
        """A register for `_note_class`, with no class in it."""
        first = self.asm.vec.alloc("first class with the largest z")
        self.v.load(first, self.asm.vector_constant("no_class", _NO_CLASS))
        return first

    def _note_class(self, first: Any, z: Any, largest: Any) -> None:
        """first = min(first, class) in the lanes where z is the largest."""
        asm, v = self.asm, self.v
        mask, candidate, none = v.mask_alloc("z is largest"), asm.vec.alloc("candidate"), asm.vec.alloc("no class")
        v.equal(mask, z, largest)
        v.load(candidate, self._class_table)
        v.load(none, asm.vector_constant("no_class", _NO_CLASS))
        v.select(candidate, mask, candidate, none)
        v.min(first, first, candidate)
        v.mask_free(mask)
        asm.vec.free(candidate, none)

    def _predict_class(self, first: Any) -> None:
        """preds[n] = the first class with the largest z; 0 where NaN left none."""
        asm, at = self.asm, self.at.as_dword
        self._reduce(self.v.min, first, "first class with the largest z")
        below = asm.gp.alloc("all ones if a class").as_dword
        self.v.to_integer(at, first)
        x86.CMP(at, self.z.features)
        x86.SBB(below, below)
        x86.AND(at, below)
        self._store_prediction()
        asm.gp.free(below.as_qword)
        asm.vec.free(first)

    # the header ----------------------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        spec, z, ctype = self.spec, self.z, dtype_tag(self.z.dtype)
        block = f"{ctype} losses[{z.n}]; u32 preds[{z.n}]"
        dz = Argument("rdx", "dz", ctype, str(z), "out", "overwritten, padding zero")
        formula = self.formula if spec.gradient else tuple(line for line in self.formula if not line.startswith("dz"))
        return Facts(
            title=f"{spec.text}  {z.n} x {z.features}",
            source=f"asmgen/kernels/loss/loss_{'softmax_ce' if spec.kind == 'softmax_ce' else 'elementwise'}.py",
            formula=formula,
            arguments=(
                Argument("rdi", "z", ctype, str(z), "in", "rows 64-byte aligned, padding zero"),
                Argument("rsi", "labels", "u32", f"[{z.n}]", "in", "read where n < present"),
                *([dz] if spec.gradient else []),
                Argument("rcx", "block", "loss block", f"inv_count, present; {block}", "in/out"),
            ),
            slice_unit=f"samples, 0..{z.n}",
            flops=spec.flops(),
            bytes_read=z.size_bytes + 4 * z.n,
            bytes_written=(z.size_bytes if spec.gradient else 0) + (z.element_bytes + 4) * z.n,
            tile=f"1 sample, {counted(self.n_vectors, 'vector')} of {self.asm.lanes}",
            notes=(
                f"loss block: inv_count at {_INV_COUNT_AT}, present (u32) at {PRESENT_AT}, losses at "
                f"{spec.losses_offset_bytes}, preds at {spec.preds_offset_bytes}",
                f"samples n >= present: {'dz = 0, ' if spec.gradient else ''}loss 0, pred 0",
            ),
        )
