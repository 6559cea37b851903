"""Softmax and cross entropy: loss = log(sum_j e^(z_j - m)) - (z_label - m), dz = (softmax(z) - onehot) / present.

m is the largest z, so no exponential overflows and the sum is at least 1. Three passes over a row: m; exponentials
(left in dz), their sum and the class of m; dz. An evaluation keeps no exponentials and ends there. A NaN in z
makes the sum, and so the loss, NaN.
"""

from __future__ import annotations

from typing import Any

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.common import transcendental
from asmgen.kernels.loss.loss_frame import LossKernel
from asmgen.plan.specs import Loss


def emit(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    return _SoftmaxCrossEntropy(spec, isa).emit()


class _SoftmaxCrossEntropy(LossKernel):
    formula = (
        "loss[n] = log(sum_j e^(z[n,j] - m)) - (z[n,label] - m), m = max_j z[n,j]; pred[n] = first j with z[n,j] = m",
        "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) - (k == label)) * inv_count",
    )

    def _prepare(self) -> None:
        if not self.has_gradient:
            return
        self.one = self.asm.vec.alloc("one")
        self.v.load(self.one, self.asm.vector_constant("one", 1.0))

    def _sample(self) -> None:
        asm, v = self.asm, self.v
        largest = self._row_maximum()
        names = "e^(z - m)", "sum", "z - m of the label", "class / label's z - m"
        e, total, chosen, spare = (asm.vec.alloc(name) for name in names)
        hot = v.mask_alloc("is label")
        asm.comment("exponentials and their sum, z - m of the label, first class with z = m")
        first = self._first_class()
        v.zero(total)
        v.zero(chosen)
        with self._vectors("exp"):
            self._load_z(e, masked=True)
            self._note_class(first, e, largest)
            v.sub(e, e, largest)
            self._is_label(hot, spare)
            v.keep(spare, hot, e)
            v.add(chosen, chosen, spare)
            transcendental.exp(asm, e)
            if self.has_gradient:
                v.store(self._place(self.dz_row), e)
            v.add(total, total, e)
        self._predict_class(first)
        self._reduce(v.add, total, "sum of the exponentials")
        self._reduce(v.add, chosen, "z - m of the label")
        if self.has_gradient:
            self._slopes(total, (largest, e, spare), hot)
        asm.comment("loss = log(sum) - (z - m) of the label")
        transcendental.log(asm, total)
        v.sub(total, total, chosen)
        self._store_loss(total)
        v.mask_free(hot)
        asm.vec.free(largest, e, total, chosen, spare)

    def _slopes(self, total: Any, free: tuple[Any, Any, Any], hot: Any) -> None:
        """dz from the exponentials that stand there and their sum; `free` registers and hot are overwritten."""
        asm, v = self.asm, self.v
        inv_total, e, spare = free
        v.div(inv_total, self.one, total)
        asm.note("1 / sum")
        asm.comment("dz = (e^(z - m) / sum - onehot) * inv_count")
        with self._vectors("dz"):
            v.load(e, self._place(self.dz_row))
            v.mul(e, e, inv_total)
            self._is_label(hot, spare)
            v.keep(spare, hot, self.one)
            v.sub(e, e, spare)
            v.mul(e, e, self.inv_count)
            v.store(self._place(self.dz_row), e)
