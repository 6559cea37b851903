"""Losses: the emitter of each kind."""

from __future__ import annotations

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.loss import loss_elementwise, loss_softmax_ce
from asmgen.plan.specs import Loss

_EMITTERS = {
    "softmax_ce": loss_softmax_ce.emit,
    "bce": loss_elementwise.emit_bce,
    "mse": loss_elementwise.emit_mse,
    "mae": loss_elementwise.emit_mae,
    "huber": loss_elementwise.emit_huber,
}


def emit(spec: Loss, isa: Isa) -> Listing:
    """The listing of one loss: rdi z, rsi labels, rdx dz (if any), rcx loss block; slice of samples."""
    return _EMITTERS[spec.kind](spec, isa)
