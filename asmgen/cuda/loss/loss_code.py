"""The CUDA code of losses: what `templates/cuda/loss/loss.j2` puts where a sample's loss stands.

The kernel of a loss and the resident training kernel have it from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.render import CTYPES, literal
from asmgen.plan.specs import Loss


@dataclass(frozen=True)
class Mean:
    """C++ of a loss that is a mean over the outputs: of one of them, from z[at] and whether output == label.

    {T} stands for the type, {delta} for the loss's. `slope`: statements for the gradient alone.
    """

    value: tuple[str, ...]  # statements
    loss: str
    dz: str  # without the factors of the mean
    slope: tuple[str, ...] = ()
    scale: float = 1.0  # of dz


_DIFFERENCE = "const {T} difference = z[at] - (output == label);"

_MEANS = {
    "bce": Mean(
        ("const {T} t = output == label ? -z[at] : z[at];",),
        "math::softplus(t)",
        "(output == label ? -slope : slope)",
        slope=("const {T} slope = math::sigmoid(t);",),
    ),
    "mse": Mean((_DIFFERENCE,), "difference * difference", "difference", scale=2.0),
    "mae": Mean((_DIFFERENCE,), "math::magnitude(difference)", "((difference > 0) - (difference < 0))"),
    "huber": Mean(
        (
            _DIFFERENCE,
            "const {T} below = difference > {delta} ? {delta} : difference;  // NaN stays",
            "const {T} clamped = below < -{delta} ? -{delta} : below;",
        ),
        "clamped * (difference - clamped / 2)",
        "clamped",
    ),
}


@dataclass(frozen=True)
class LossCode:
    """Of one loss, with literals. softmax_ce has no `mean`.

    target: of `output` (-1 in padding), where the label's is `label`; nothing where targets are one-hot.
    class_weights: one an output, or none; target_sum: of the label's sample, where there are.
    """

    kind: str
    several: bool  # outputs
    threshold: str  # of a single one
    inv_outputs: str
    slope_scale: str
    mean: Mean | None
    target: str
    class_weights: tuple[str, ...]
    target_sum: str


def code_of(spec: Loss) -> LossCode:
    """The texts of a loss; a kind without an entry is an error."""
    outputs, dtype = spec.z.features, spec.z.dtype
    mean = None if spec.kind == "softmax_ce" else _filled(_MEANS[spec.kind], CTYPES[dtype], literal(spec.delta, dtype))
    return LossCode(
        kind=spec.kind,
        several=outputs > 1,
        threshold=literal(spec.threshold, dtype),
        inv_outputs=literal(1 / outputs, dtype),
        slope_scale=literal((mean.scale if mean else 1.0) / outputs, dtype),
        mean=mean,
        target=_target(spec),
        class_weights=tuple(literal(weight, dtype) for weight in spec.class_weights),
        target_sum=_target_sum(spec),
    )


def _target(spec: Loss) -> str:
    if not spec.label_smoothing and not spec.class_weights:
        return ""
    share = spec.label_smoothing / spec.z.features
    of_label, of_others = (literal(value, spec.z.dtype) for value in (1 - spec.label_smoothing + share, share))
    target = f"output == label ? {of_label} : {of_others}"
    return f"(output < 0 ? 0 : {f'class_weights[output] * ({target})' if spec.class_weights else target})"


def _target_sum(spec: Loss) -> str:
    if not spec.class_weights:
        return ""
    own, others = (literal(value, spec.z.dtype) for value in (1 - spec.label_smoothing, sum(spec.other_targets)))
    return f"class_weights[label] * {own} + {others}"


def _filled(mean: Mean, ctype: str, delta: str) -> Mean:
    value, slope = (
        tuple(statement.format(T=ctype, delta=delta) for statement in statements)
        for statements in (mean.value, mean.slope)
    )
    return Mean(value, mean.loss, mean.dz, slope, mean.scale)
