"""Softmax and cross entropy: loss = log(sum_j e^(z_j - m)) - (z_label - m), dz = (softmax(z) - onehot) / present.

m is the largest z, so no exponential overflows and the sum is at least 1. Three passes over a row: m; exponentials
(left in dz), their sum and the class of m; dz. An evaluation keeps no exponentials and ends there. A NaN in z
makes the sum, and so the loss, NaN. Targets other than one-hot come from tables; weights of
classes make their sum another number than 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.common import transcendental
from asmgen.kernels.loss.loss_frame import PRESENT_AT, LossKernel
from asmgen.plan.specs import Loss


def emit(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    if spec.class_weights:
        return _WeightedCrossEntropy(spec, isa).emit()
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
    inv_total_text = "1 / sum"

    def _prepare(self) -> None:
        self._take_target_sum()

    def _take_target_sum(self) -> None:
        """A register for what a slope multiplies the softmax with."""
        if self.has_gradient:
            self.target_sum = self.asm.vec.alloc("one")
            self.v.load(self.target_sum, self.asm.vector_constant("one", 1.0))

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
        self._loss(total, chosen, spare)
        self._store_loss(total)
        v.mask_free(hot)
        asm.vec.free(largest, e, total, chosen, spare)

    def _slopes(self, total: Any, free: tuple[Any, Any, Any], hot: Any) -> None:
        """dz from the exponentials that stand there and their sum; `free` registers and hot are overwritten."""
        asm, v = self.asm, self.v
        inv_total, e, spare = free
        v.div(inv_total, self.target_sum, total)
        asm.note(self.inv_total_text)
        asm.comment(f"dz = (e^(z - m) / sum - {self.target_text}) * inv_count")
        with self._vectors("dz"):
            v.load(e, self._place(self.dz_row))
            v.mul(e, e, inv_total)
            self._is_label(hot, spare)
            self._target(spare, hot)
            v.sub(e, e, spare)
            v.mul(e, e, self.inv_count)
            v.store(self._place(self.dz_row), e)

    def _loss(self, total: Any, chosen: Any, spare: Any) -> None:
        """total = the loss, from the logarithm of the sum."""
        self.v.sub(total, total, chosen)

    def _add_chosen(self, chosen: Any, shifted: Any, largest: Any, hot: Any, spare: Any) -> None:
        """chosen += target * (z - m); `shifted` is z - m, -infinity in padding."""
        self.v.keep(spare, hot, shifted)
        self.v.add(chosen, chosen, spare)

    def _target(self, dst: Any, hot: Any) -> None:
        """dst = the targets of a vector's outputs; 0 in padding."""
        self.v.keep(dst, hot, self.target_sum)


class _SmoothedCrossEntropy(_SoftmaxCrossEntropy):
    """q, the targets, is the sum of two tables, one of which counts in the label's lane only."""

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
        self.of_label = self._by_position("of_label", self.spec.label_targets, "q of the label, but for what follows")
        self.of_others = self._by_position("of_others", self.spec.other_targets, "q of the others")

    def _by_position(self, name: str, numbers: Sequence[float], note: str) -> Any:
        """The table of a number an output; 0 in padding."""
        return self._table(name, [0.0 if c < 0 else numbers[c] for c in self.classes], note)

    def _add_chosen(self, chosen: Any, shifted: Any, largest: Any, hot: Any, spare: Any) -> None:
        z = self.asm.vec.alloc("z - m")
        self._target(spare, hot)
        self._load_z(z, masked=False)
        self.v.sub(z, z, largest)
        self.asm.note("finite in padding, where q is 0")
        self.v.fma(chosen, spare, z)
        self.asm.vec.free(z)

    def _target(self, dst: Any, hot: Any) -> None:
        self.v.load(dst, self.of_label)
        self.v.keep(dst, hot, dst)
        self.v.add(dst, dst, self.of_others)
        self.asm.note("q")


class _WeightedCrossEntropy(_SmoothedCrossEntropy):
    """The sum of q depends on the label; the mean is over the weights of the labels, which every call adds up alike."""

    inv_total_text = "Q / sum"

    def __init__(self, spec: Loss, isa: Isa) -> None:
        super().__init__(spec, isa)
        self.formula = (
            "loss[n] = (Q log(sum_j e^(z[n,j] - m)) - sum_k q[n,k] (z[n,k] - m)) * present / W, m = max_j z[n,j]",
            f"{spec.targets_text}; Q = sum_k q[n,k]; W = sum of w[label] over the samples present",
            "pred[n] = first j with z[n,j] = m",
            "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) Q - q[n,k]) / W",
        )

    def _take_inv_count(self) -> None:
        asm, v = self.asm, self.v
        asm.comment("W, the sum of the weights of the samples present, from the last to the first")
        self.inv_count = asm.vec.alloc("1 / W")
        weight, table, left = asm.vec.alloc("weight"), asm.gp.alloc("class_weights table"), asm.gp.alloc("weights left")
        x86.LEA(table, self._by_class("class_weights", self.spec.class_weights, "w"))
        x86.MOV(left, self.present)
        v.zero(self.inv_count)
        with asm.loop("weights", "samples present", left):
            x86.MOV(self.at.as_dword, [self.labels + left * 4 - 4])
            v.load_scalar(weight, [table + self.at * self.z.element_bytes])
            v.add(self.inv_count, self.inv_count, weight)
        self._reduce(v.add, self.inv_count, "W")
        v.load(weight, asm.vector_constant("one", 1.0))
        v.div(weight, weight, self.inv_count)
        v.mov(self.inv_count, weight)
        asm.note("1 / W")
        asm.vec.free(weight)
        asm.gp.free(table, left)

    def _take_target_sum(self) -> None:
        self.target_sum = self.asm.vec.alloc("Q, the sum of q")

    def _by_class(self, name: str, numbers: Sequence[float], note: str) -> Any:
        """The constant of a number a class, padded to whole vectors."""
        return self.asm.vector_constant(
            name, [*numbers, *[0.0] * (-len(numbers) % self.asm.lanes)], f"{note}, by class"
        )

    def _sample(self) -> None:
        table = self.asm.gp.alloc("target_sums table")
        x86.LEA(table, self._by_class("target_sums", self.spec.target_sums, "Q"))
        x86.MOV(self.at.as_dword, [self.labels + self.n * 4])
        self.v.broadcast(self.target_sum, [table + self.at * self.z.element_bytes])
        self.asm.note("Q")
        self.asm.gp.free(table)
        super()._sample()

    def _loss(self, total: Any, chosen: Any, spare: Any) -> None:
        self.v.mul(total, total, self.target_sum)
        super()._loss(total, chosen, spare)
        self.v.broadcast_u32(spare, [self.block + PRESENT_AT])
        self.v.mul(total, total, spare)
        self.v.mul(total, total, self.inv_count)
        self.asm.note("* present / W")
