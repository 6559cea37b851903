"""Losses that are a mean over the outputs: binary cross entropy from logits, squared and absolute error, Huber's.

Binary cross entropy: with t = -z where the target is 1 and z elsewhere, loss = log(1 + e^t) and its slope is
sigmoid(t), with its sign turned where t's was: no cancellation for either target.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.common import transcendental
from asmgen.kernels.loss.loss_frame import LossKernel
from asmgen.plan.specs import Loss


def emit_bce(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    return _BinaryCrossEntropy(spec, isa).emit()


def emit_mse(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    return _MeanSquaredError(spec, isa).emit()


def emit_mae(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    return _MeanAbsoluteError(spec, isa).emit()


def emit_huber(spec: Loss, isa: Isa) -> Listing:
    """The listing of one shape (arguments: z, labels, dz if any, loss block; slice: samples)."""
    return _Huber(spec, isa).emit()


class _Elementwise(LossKernel):
    """One pass over a row (after one for the largest z, where there are several outputs)."""

    slope_scale = 1.0
    masks_padding = False  # whether `_element` wants -infinity, not 0, in padding

    def _element(self, z: Any, loss: Any, hot: Any) -> None:
        """loss = the loss of every lane; with a gradient, z = its slope (without the factors of the mean)."""
        raise NotImplementedError

    def _prepare(self) -> None:
        scale = self.slope_scale / self.z.features
        if scale != 1 and self.has_gradient:
            self.v.mul(self.inv_count, self.inv_count, self.asm.vector_constant("slope_scale", scale))

    def _sample(self) -> None:
        asm, v = self.asm, self.v
        several = self.z.features > 1
        total, z, loss = (
            asm.vec.alloc("sum of losses"),
            asm.vec.alloc("z, then dz" if self.has_gradient else "z"),
            asm.vec.alloc("loss"),
        )
        hot = v.mask_alloc("is label")
        if several:
            largest, first = self._row_maximum(), self._first_class()
        else:
            self._predict_threshold(z, hot)
        asm.comment("losses and slopes")
        v.zero(total)
        with self._vectors("outputs"):
            if several:
                self._load_z(z, masked=True)
                self._note_class(first, z, largest)
            if not (several and self.masks_padding):
                self._load_z(z, masked=self.masks_padding)
            self._is_label(hot, loss)
            self._element(z, loss, hot)
            v.add(total, total, loss)
            if self.has_gradient:
                v.mul(z, z, self.inv_count)
                v.store(self._place(self.dz_row), z)
        if several:
            self._predict_class(first)
            asm.vec.free(largest)
        asm.comment("loss = mean over the outputs")
        self._reduce(v.add, total, "sum of losses")
        if several:
            v.mul(total, total, asm.vector_constant("inv_outputs", 1 / self.z.features))
        self._store_loss(total)
        v.mask_free(hot)
        asm.vec.free(total, z, loss)

    def _predict_threshold(self, z: Any, mask: Any) -> None:
        """preds[n] = z > threshold (0 for NaN), for a single output."""
        asm, v = self.asm, self.v
        asm.comment(f"prediction: z > {self.spec.threshold}")
        threshold = asm.vec.alloc("threshold")
        v.load_scalar(z, [self.z_row])
        v.load(threshold, asm.vector_constant("threshold", self.spec.threshold))
        v.less(mask, threshold, z)
        v.sign_bits(self.at.as_dword, mask)
        x86.AND(self.at.as_dword, 1)
        self._store_prediction()
        asm.vec.free(threshold)


class _BinaryCrossEntropy(_Elementwise):
    formula = (
        "t = -z where the target is 1, z elsewhere",
        "loss[n] = mean_k log(1 + e^t[n,k]) (= max(z,0) - z*y + log1p(e^-|z|))",
        "dz[n,k] = +-sigmoid(t[n,k]) * inv_count / outputs (= (sigmoid(z) - y) * inv_count / outputs)",
    )
    masks_padding = True  # log(1 + e^-infinity) = sigmoid(-infinity) = 0

    def _prepare(self) -> None:
        super()._prepare()
        self.sign_bit = self.asm.vec.alloc("sign bit")
        self.v.load(self.sign_bit, transcendental.sign_bit(self.asm))

    def _element(self, z: Any, loss: Any, hot: Any) -> None:
        self._flip(z, hot)
        self.v.mov(loss, z)
        transcendental.softplus(self.asm, loss)
        if self.has_gradient:
            transcendental.sigmoid(self.asm, z)
            self._flip(z, hot)

    def _flip(self, z: Any, hot: Any) -> None:
        """z = -z where the target is 1."""
        flip = self.asm.vec.alloc("sign bit where the target is 1")
        self.v.keep(flip, hot, self.sign_bit)
        self.v.xor_(z, z, flip)
        self.asm.vec.free(flip)


class _Distance(_Elementwise):
    """A loss of d = z - y alone."""

    def _prepare(self) -> None:
        super()._prepare()
        self.one = self.asm.vec.alloc("one")
        self.v.load(self.one, self.asm.vector_constant("one", 1.0))

    def _element(self, z: Any, loss: Any, hot: Any) -> None:
        self.v.keep(loss, hot, self.one)
        self.v.sub(z, z, loss)
        self._of_distance(z, loss, hot)

    def _of_distance(self, d: Any, loss: Any, spare: Any) -> None:
        """loss = the loss of every lane; with a gradient, d = its slope. `spare` is a mask."""
        raise NotImplementedError


class _MeanSquaredError(_Distance):
    formula = (
        "loss[n] = mean_k (z[n,k] - y[n,k])^2, y = (k == label), or label for a single output",
        "dz[n,k] = 2 (z[n,k] - y[n,k]) * inv_count / outputs",
    )
    slope_scale = 2.0

    def _of_distance(self, d: Any, loss: Any, spare: Any) -> None:
        self.v.mul(loss, d, d)


class _MeanAbsoluteError(_Distance):
    formula = (
        "loss[n] = mean_k |z[n,k] - y[n,k]|, y = (k == label), or label for a single output",
        "dz[n,k] = sign(z[n,k] - y[n,k]) * inv_count / outputs; sign(0) = 0",
    )

    def _of_distance(self, d: Any, loss: Any, spare: Any) -> None:
        v = self.v
        v.zero(loss)
        v.sub(loss, loss, d)
        v.max(loss, loss, d)
        self.asm.note("|d|; NaN stays")
        if self.has_gradient:
            self._sign(d, spare)

    def _sign(self, d: Any, mask: Any) -> None:
        """d = 1, 0 or -1, its sign."""
        v, vec = self.v, self.asm.vec
        zero, below = vec.alloc("zero"), vec.alloc("1 where d < 0")
        v.zero(zero)
        v.less(mask, d, zero)
        v.keep(below, mask, self.one)
        v.less(mask, zero, d)
        v.keep(d, mask, self.one)
        v.sub(d, d, below)
        self.asm.note("the sign of d")
        vec.free(zero, below)


class _Huber(_Distance):
    formula = (
        "loss[n] = mean_k c (d - c / 2), d = z[n,k] - y[n,k], y = (k == label), or label for a single output",
        "c = d clamped to +-delta: d^2 / 2 up to there, delta (|d| - delta / 2) beyond",
        "dz[n,k] = c * inv_count / outputs",
    )

    def _prepare(self) -> None:
        super()._prepare()
        delta = self.spec.delta
        self.delta, self.minus_delta = self.asm.vec.alloc("delta"), self.asm.vec.alloc("-delta")
        self.v.load(self.delta, self.asm.vector_constant("delta", delta))
        self.v.load(self.minus_delta, self.asm.vector_constant("minus_delta", -delta))
        self.half = self.asm.vector_constant("half", 0.5)

    def _of_distance(self, d: Any, loss: Any, spare: Any) -> None:
        v, vec = self.v, self.asm.vec
        clamped = vec.alloc("c")
        v.max(loss, self.minus_delta, d)
        v.min(clamped, self.delta, loss)
        self.asm.note("c = d clamped to +-delta; NaN stays")
        v.mul(loss, clamped, self.half)
        v.sub(d, d, loss)
        v.mul(loss, d, clamped)
        self.asm.note("c (d - c / 2)")
        if self.has_gradient:
            v.mov(d, clamped)
        vec.free(clamped)
