"""Softmax and cross entropy: loss = log(sum_j e^(z_j - m)) - (z_label - m), dz = (softmax(z) - onehot) / present.

m is the largest z, so no exponential overflows and the sum is at least 1. Three passes over a row: m; exponentials
(left in dz), their sum and the class of m; dz. An evaluation keeps no exponentials and ends there. A NaN in z
makes the sum, and so the loss, NaN. Targets other than one-hot are made of two vectors: of the label's lane, of all.
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
    kernel = _SmoothedCrossEntropy if spec.label_smoothing else _SoftmaxCrossEntropy
    return kernel(spec, isa).emit()


class _SoftmaxCrossEntropy(LossKernel):
    formula: tuple[str, ...] = (
        "loss[n] = log(sum_j e^(z[n,j] - m)) - (z[n,label] - m), m = max_j z[n,j]; pred[n] = first j with z[n,j] = m",
        "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) - (k == label)) * inv_count",
    )

    chosen_name, chosen_text = "z - m of the label", "(z - m) of the label"
    spare_name = "class / label's z - m"
    target_text = "onehot"

    def _prepare(self) -> None:
        if not self.has_gradient:
            return
        self.one = self.asm.vec.alloc("one")
        self.v.load(self.one, self.asm.vector_constant("one", 1.0))

    def _sample(self) -> None:
        asm, v = self.asm, self.v
        largest = self._row_maximum()
        names = "e^(z - m)", "sum", self.chosen_name, self.spare_name
        e, total, chosen, spare = (asm.vec.alloc(name) for name in names)
        hot = v.mask_alloc("is label")
        asm.comment(f"exponentials and their sum, {self.chosen_name}, first class with z = m")
        first = self._first_class()
        v.zero(total)
        v.zero(chosen)
        with self._vectors("exp"):
            self._load_z(e, masked=True)
            self._note_class(first, e, largest)
            v.sub(e, e, largest)
            self._is_label(hot, spare)
            self._add_chosen(chosen, e, largest, hot, spare)
            transcendental.exp(asm, e)
            if self.has_gradient:
                v.store(self._place(self.dz_row), e)
            v.add(total, total, e)
        self._predict_class(first)
        self._reduce(v.add, total, "sum of the exponentials")
        self._reduce(v.add, chosen, self.chosen_name)
        if self.has_gradient:
            self._slopes(total, (largest, e, spare), hot)
        asm.comment(f"loss = log(sum) - {self.chosen_text}")
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
        asm.comment(f"dz = (e^(z - m) / sum - {self.target_text}) * inv_count")
        with self._vectors("dz"):
            v.load(e, self._place(self.dz_row))
            v.mul(e, e, inv_total)
            self._is_label(hot, spare)
            self._target(spare, hot)
            v.sub(e, e, spare)
            v.mul(e, e, self.inv_count)
            v.store(self._place(self.dz_row), e)

    def _add_chosen(self, chosen: Any, shifted: Any, largest: Any, hot: Any, spare: Any) -> None:
        """chosen += target * (z - m); `shifted` is z - m, -infinity in padding."""
        self.v.keep(spare, hot, shifted)
        self.v.add(chosen, chosen, spare)

    def _target(self, dst: Any, hot: Any) -> None:
        """dst = the targets of a vector's outputs; 0 in padding."""
        self.v.keep(dst, hot, self.one)


class _SmoothedCrossEntropy(_SoftmaxCrossEntropy):
    chosen_name = chosen_text = "sum of q (z - m)"
    spare_name = "class / target"
    target_text = "q"

    def __init__(self, spec: Loss, isa: Isa) -> None:
        super().__init__(spec, isa)
        self.formula = (
            f"loss[n] = log(sum_j e^(z[n,j] - m)) - sum_k q[n,k] (z[n,k] - m), m = max_j z[n,j]; {spec.targets_text}",
            "pred[n] = first j with z[n,j] = m",
            "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) - q[n,k]) * inv_count",
        )

    def _prepare(self) -> None:
        super()._prepare()
        smoothing = self.spec.label_smoothing
        self.more = self.asm.vector_constant("of_the_label", 1 - smoothing)
        shares = [0.0 if c < 0 else smoothing / self.z.features for c in self.classes]
        self.share = self._table("of_all", shares, "target of every output, without the label's own")

    def _add_chosen(self, chosen: Any, shifted: Any, largest: Any, hot: Any, spare: Any) -> None:
        z = self.asm.vec.alloc("z - m")
        self._target(spare, hot)
        self._load_z(z, masked=False)
        self.v.sub(z, z, largest)
        self.asm.note("finite in padding, where q is 0")
        self.v.fma(chosen, spare, z)
        self.asm.vec.free(z)

    def _target(self, dst: Any, hot: Any) -> None:
        self.v.load(dst, self.more)
        self.v.keep(dst, hot, dst)
        self.v.add(dst, dst, self.share)
        self.asm.note("q")
