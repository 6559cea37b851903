"""Cases of the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from asmgen.harness.cases.case import Array, Case, Draw, Expected, Operand, padding_check, unwritten
from asmgen.plan import specs
from asmgen.reference import ops


def loss(spec: specs.Loss, draw: Draw) -> Iterable[Case]:
    """A full and a partial batch, each with moderate and with extreme logits; bounds: `_loss_bounds`."""
    n, outputs = spec.z.n, spec.z.features
    for scale in (1.0, 40.0):
        for present in sorted({n, max(1, n // 2)}):
            z = draw.round(draw(n, outputs) * scale)
            labels = draw.rng.integers(0, max(outputs, 2), n).astype(np.uint32)
            yield _loss_case(spec, draw, z, labels, present, f"{present} of {n} present, logits x{scale:g}")


def _loss_case(spec: specs.Loss, draw: Draw, z: Array, labels: Array, present: int, title: str) -> Case:
    n, dtype = spec.z.n, spec.z.dtype
    dz, losses, preds = ops.run(spec, z, labels, present)
    dz_bound, loss_bound = _loss_bounds(spec, draw, z, labels, present)
    preds_at = spec.preds_offset_bytes
    block = np.zeros(preds_at + 4 * n, np.uint8)
    block[:8] = np.frombuffer(np.array([1.0 / present], dtype).tobytes().ljust(8, b"\0"), np.uint8)
    block[8:12].view(np.uint32)[0] = present
    losses_end = spec.losses_offset_bytes + n * spec.z.element_bytes
    block[spec.losses_offset_bytes : losses_end].view(dtype)[:] = np.nan
    block[preds_at:].view(np.uint32)[:] = 0xEEEEEEEE

    def rest_unchanged(memory: list[Array]) -> Iterable[str]:
        after = memory[3]
        if (
            not np.array_equal(after[: spec.losses_offset_bytes], block[: spec.losses_offset_bytes])
            or after[losses_end:preds_at].any()
        ):
            yield "loss block: bytes outside losses and preds were written"

    here = np.arange(n) < present
    slopes = () if dz is None else (Expected("dz", 2, spec.z.unpack, dz, dz_bound * here[:, None]),)
    return Case(
        title,
        (
            Operand("z", spec.z.pack(z)),
            Operand("labels", labels, align=4),
            Operand("dz", unwritten(spec.z), is_output=True) if spec.gradient else None,
            Operand("loss block", block, is_output=True),
        ),
        (
            *slopes,
            Expected(
                "losses", 3, lambda m: m[spec.losses_offset_bytes : losses_end].view(dtype), losses, loss_bound * here
            ),
            Expected("preds", 3, lambda m: m[preds_at:].view(np.uint32).astype(np.float64), preds, 0.0),
        ),
        (padding_check("dz", 2, spec.z), rest_unchanged) if spec.gradient else (rest_unchanged,),
    )


def probabilities(spec: specs.Probabilities, draw: Draw) -> Iterable[Case]:
    """Moderate and extreme logits. softmax: as in `_loss_bounds`, p = e / sum errs by its two terms' relative errors.
    sigmoid: 8 ulp (exp 1 ulp, sum, quotient)."""
    for scale in (1.0, 40.0):
        z = draw.round(draw(spec.z.n, spec.z.features) * scale)
        (p,) = ops.run(spec, z)
        bound = 8 * (draw.eps * p + draw.tiny)
        if spec.kind == "softmax":
            shifted = z - z.max(1, keepdims=True)
            total_error = draw.eps * (spec.z.features + 6 + (p * -shifted).sum(1, keepdims=True))
            bound = p * (total_error + draw.eps * (6 - shifted)) + 8 * draw.tiny
        yield Case(
            f"logits x{scale:g}",
            (Operand("z", spec.z.pack(z)), Operand("p", unwritten(spec.z), is_output=True)),
            (Expected("p", 1, spec.z.unpack, p, bound),),
            (padding_check("p", 1, spec.z),),
            in_place=(0, 1),
        )


def _loss_bounds(spec: specs.Loss, draw: Draw, z: Array, labels: Array, present: int) -> tuple[Array, Array]:
    """(dz, losses): exp and log are within a few ulp of their rounded arguments; an argument t that is itself rounded
    moves exp(t) by eps*|t| relatively; sums and means over the outputs add their length."""
    eps, outputs = draw.eps, z.shape[1]
    if spec.kind == "softmax_ce":
        shifted = z - z.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        p, target = e / total, np.eye(outputs)[np.minimum(labels, outputs - 1)]
        target = (1 - spec.label_smoothing) * target + spec.label_smoothing / outputs
        if spec.class_weights:
            return _weighted_bounds(spec, draw, labels, present, shifted, target * np.array(spec.class_weights))
        terms = np.count_nonzero(target, axis=1)  # of the sum of target (z - m)
        total_error = eps * (outputs + 6 + (p * -shifted).sum(1, keepdims=True))
        dz = p * (total_error + eps * (6 - shifted)) + 3 * eps * np.abs(p - target)
        if spec.label_smoothing:
            dz += 3 * eps * target
        chosen = -(shifted * target).sum(1)
        losses = total_error[:, 0] + eps * (4 + 4 * np.log(total[:, 0]) + (3 + terms) * chosen)
        return dz / present + 8 * draw.tiny, losses
    target = labels[:, None].astype(float) if outputs == 1 else np.eye(outputs)[np.minimum(labels, outputs - 1)]
    if spec.kind == "bce":
        dz = eps * 8 * np.ones_like(z) / outputs
        losses = eps * (outputs + 8) * (1 + np.abs(z) * (1 + target)).mean(1)
        return dz / present + 8 * draw.tiny, losses
    distance = np.abs(z) + target
    largest_slope, loss = _OF_DISTANCE[spec.kind](spec, distance)
    return eps * 8 * largest_slope / outputs / present + 8 * draw.tiny, eps * (outputs + 6) * loss.mean(1)


def _weighted_bounds(
    spec: specs.Loss, draw: Draw, labels: Array, present: int, shifted: Array, target: Array
) -> tuple[Array, Array]:
    """As above, with a sum of targets that is not 1, and a sum of weights with a rounding a sample present."""
    eps, outputs = draw.eps, shifted.shape[1]
    e = np.exp(shifted)
    total, whole = e.sum(1, keepdims=True), target.sum(1, keepdims=True)
    p = e / total
    weight_sum = np.array(spec.class_weights)[labels[:present]].sum()
    total_error = eps * (outputs + 6 + (p * -shifted).sum(1, keepdims=True))
    dz = whole * p * (total_error + eps * (9 - shifted)) + eps * (3 + present) * np.abs(whole * p - target)
    dz += 4 * eps * target
    chosen = -(shifted * target).sum(1)
    parts = whole[:, 0] * np.log(total[:, 0]) + chosen
    losses = whole[:, 0] * total_error[:, 0] + eps * ((4 + outputs) * parts + (4 + present) * parts + 4 * whole[:, 0])
    return dz / weight_sum + 8 * draw.tiny, losses * present / weight_sum


#: Losses of d = z - y: how large a slope and a loss may be where |d| is so large.
_OF_DISTANCE: dict[str, Callable[[specs.Loss, Array], tuple[Array, Array]]] = {
    "mse": lambda spec, d: (d, d**2),
    "mae": lambda spec, d: (np.ones_like(d), d),
    "huber": lambda spec, d: (np.minimum(d, spec.delta), np.minimum(d, spec.delta) * d),
}
