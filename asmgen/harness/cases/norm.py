"""Cases of batch normalisation. p: pixels of a channel in a sample, N: samples present."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from asmgen.harness.cases.case import (
    Array,
    Case,
    Check,
    Draw,
    Expected,
    Operand,
    padding_check,
    unwritten,
)
from asmgen.ops.batch_norm import along
from asmgen.plan import specs
from asmgen.plan.layout import LINE_BYTES, Activations, ChannelVectors, Image, NormParts, NormTable
from asmgen.plan.specs.activations import op_of
from asmgen.plan.specs.batch_norm import Moments, Terms

_FAR = 1000.0  # a mean so many times the deviation


def parts(spec: specs.BatchNormParts, draw: Draw) -> Iterable[Case]:
    """Sums of p distances from K and of their squares, a rounding each, and what makes the mean and the sum of them.

    Values around zero; and around a mean of 1,000 deviations, where the distances are exact.
    """
    for title, offset in (("", 0.0), (", far from zero", _FAR)):
        x = draw.round(draw(*_shape(spec.x)) + offset)
        ((means, sums),) = spec.compute(x)
        flat = x.reshape(*x.shape[:2], -1)
        p = flat.shape[-1]
        middle = flat[..., _middle(spec.x)]
        distance = np.abs(flat - middle[..., None])
        squares = (distance**2).sum(-1)
        operands = (
            Operand("x", spec.x.pack(x)),
            Operand("parts", _unwritten(NormParts.of(spec.x).size_bytes, spec.x), is_output=True),
        )
        yield Case(
            title,
            operands,
            (
                Expected(
                    "means",
                    1,
                    lambda m: NormParts.of(spec.x).unpack(m)[0],
                    means,
                    draw.bound(p + 3, distance.sum(-1) / p) + draw.bound(1, np.abs(means)),
                ),
                Expected("sums", 1, lambda m: NormParts.of(spec.x).unpack(m)[1], sums, draw.bound(2 * p + 8, squares)),
            ),
        )


def moments(spec: specs.BatchNormMoments, draw: Draw) -> Iterable[Case]:
    """A sum of N distances from the first sample's mean; then of N terms, whose squares have twice the mean's error."""
    n, c, p = spec.x.n, spec.vectors.c, spec.pixels
    for present in sorted({n, (n + 1) // 2}):
        means, sums = draw(n, c) + draw.round(draw(c)), np.abs(draw(n, c)) * p
        means = draw.round(means)
        weight, bias = draw(c), draw(c)
        (found,) = spec.compute((means, sums), (weight, bias), present)
        distance = np.abs(means - means[0])[:present]
        mean_bound = draw.bound(present + 3, distance.sum(0) / present) + draw.bound(1, np.abs(found.mean))
        apart = np.abs(means[:present] - found.mean)
        whole = sums[:present].sum(0) / p / present + (apart**2).sum(0) / present
        var_bound = draw.bound(present + 8, whole) + 2 * mean_bound * (apart.sum(0) / present + mean_bound)
        rstd_bound = found.rstd * (var_bound / (found.var + spec.eps)) + draw.bound(5, found.rstd)
        scale_bound = rstd_bound * (np.abs(weight) if spec.has_scale else 1.0) + draw.bound(1, np.abs(found.scale))
        bounds = {"mean": mean_bound, "var": var_bound, "rstd": rstd_bound, "scale": scale_bound, "shift": 0.0}
        weights = spec.vectors.pack(weight, bias) if spec.has_scale or spec.has_bias else None
        yield Case(
            f", {present} present",
            (
                Operand("parts", NormParts.of(spec.x).pack(means, sums)),
                None if weights is None else Operand("weights", weights),
                Operand("loss block", _loss_head(spec.x, present), align=LINE_BYTES),
                Operand("moments", _unwritten(spec.moments.size_bytes, spec.x), is_output=True),
            ),
            (
                *_rows(spec.moments, 3, found, bounds),
                Expected(
                    "1/m", 3, lambda m: spec.moments.row(m, "1/m"), np.full(c, 1 / found.m), draw.bound(3, 1 / found.m)
                ),
            ),
            (_present_check(spec.moments, 3, present),),
        )


def frozen(spec: specs.BatchNormFrozen, draw: Draw) -> Iterable[Case]:
    """Mean, variance and bias are copied; a sum, a root, a quotient and a product are rounded."""
    c = spec.vectors.c
    mean, var, weight, bias = draw(c), np.abs(draw(c)), draw(c), draw(c)
    (found,) = spec.compute((mean, var, 0), (weight, bias))
    bounds = {
        "mean": 0.0,
        "var": 0.0,
        "rstd": draw.bound(4, found.rstd),
        "scale": draw.bound(5, np.abs(found.scale)),
        "shift": 0.0,
    }
    weights = spec.vectors.pack(weight, bias) if spec.has_scale or spec.has_bias else None
    yield Case(
        "",
        (
            Operand("running", spec.running.pack(mean, var, np.asarray(5))),
            None if weights is None else Operand("weights", weights),
            Operand("moments", _unwritten(spec.moments.size_bytes, spec.x), is_output=True),
        ),
        _rows(spec.moments, 2, found, bounds),
    )


def running(spec: specs.BatchNormRunning, draw: Draw) -> Iterable[Case]:
    """A distance, a product and a sum; the variance also a difference that keeps its accuracy, and a quotient."""
    layout = spec.running
    c = layout.vectors.c
    for count, m in ((0, 2), (7, 300)):
        mean, var, batch_mean, batch_var = draw(c), np.abs(draw(c)), draw(c), np.abs(draw(c))
        found = Moments(batch_mean, batch_var, 0.0, 0.0, 0.0, m, 1)
        ((new_mean, new_var, new_count),) = spec.compute(found, (mean, var, count))
        unbiased = batch_var / (1 - 1 / m)
        table = spec.moments.pack({"mean": batch_mean, "var": batch_var, "1/m": np.asarray(1 / m)})
        yield Case(
            f", step {count + 1}",
            (Operand("moments", table), Operand("running", layout.pack(mean, var, np.asarray(count)), is_output=True)),
            (
                Expected(
                    "mean", 1, lambda m: layout.unpack(m)[0], new_mean, draw.bound(4, np.abs(mean) + np.abs(batch_mean))
                ),
                Expected("var", 1, lambda m: layout.unpack(m)[1], new_var, draw.bound(8, var + unbiased)),
                Expected("count", 1, lambda m: layout.unpack(m)[2], np.asarray(float(new_count)), 0.0),
            ),
        )


def forward(spec: specs.BatchNormForward, draw: Draw) -> Iterable[Case]:
    """A difference, a product and a sum; the activation does not magnify their errors."""
    x, found = draw(*_shape(spec.x)), _draw_moments(spec.x, draw)
    others = [] if spec.other is None else [draw(*x.shape)]
    (y,) = spec.compute(x, found, *others)
    bound = _y_bound(draw, x, found) + sum(np.asarray(draw.bound(2, np.abs(other))) for other in others)
    table = NormTable(ChannelVectors.of(spec.x), NormTable.MOMENTS)
    at = 2 + len(others)
    yield Case(
        "",
        (
            Operand("x", spec.x.pack(x)),
            Operand("moments", table.pack({name: getattr(found, name) for name in ("mean", "scale", "shift")})),
            *(Operand("other", spec.other.pack(other)) for other in others if spec.other),
            Operand("y", unwritten(spec.y), is_output=True),
        ),
        (Expected("y", at, spec.y.unpack, y, bound + draw.bound(1, np.abs(y))),),
        (padding_check("y", at, spec.y),),
        in_place=(0, at) if spec.x == spec.y else None,
    )


def gradient_parts(spec: specs.BatchNormGradientParts, draw: Draw) -> Iterable[Case]:
    """Sums of p terms, of p products; a value whose y is zero but for rounding may be on either side of the gate."""
    x, dy, found = draw(*_shape(spec.x)), draw(*_shape(spec.x)), _draw_moments(spec.x, draw)
    y, open_ = _gate(spec.act, x, found, draw)
    ((sums, weighted),) = spec.compute(dy, x, found, y)
    p = x[0, 0].size
    distance = np.abs(x - along(found.mean, x))
    axes = tuple(range(2, x.ndim))
    dz = np.abs(dy)
    either = np.where(open_, np.abs(dy), 0.0)
    bound = draw.bound(p + 3, dz.sum(axes)) + either.sum(axes)
    bound_weighted = draw.bound(p + 5, (dz * (distance + np.abs(x))).sum(axes)) + (either * distance).sum(axes)
    table = NormTable(ChannelVectors.of(spec.x), NormTable.MOMENTS)
    yield Case(
        "",
        (
            Operand("dy", spec.dy.pack(dy)),
            Operand("x", spec.x.pack(x)),
            Operand("moments", table.pack({name: getattr(found, name) for name in ("mean", "scale", "shift")})),
            Operand("parts", _unwritten(NormParts.of(spec.x).size_bytes, spec.x), is_output=True),
        ),
        (
            Expected("sums", 3, lambda m: NormParts.of(spec.x).unpack(m)[0], sums, bound),
            Expected("weighted sums", 3, lambda m: NormParts.of(spec.x).unpack(m)[1], weighted, bound_weighted),
        ),
    )


def backward_weights(spec: specs.BatchNormBackwardWeights, draw: Draw) -> Iterable[Case]:
    """Sums of N terms, and up to five products."""
    n, c = spec.x.n, spec.vectors.c
    for present in sorted({n, (n + 1) // 2}):
        sums, weighted = draw(n, c), draw(n, c)
        found = _draw_moments(spec.x, draw)._replace(present=present, m=present * spec.pixels)
        (dw, db), terms = spec.compute((sums, weighted), found)
        magnitudes, terms_magnitude = spec.compute(
            (np.abs(sums), np.abs(weighted)), found._replace(scale=np.abs(found.scale))
        )
        rows = {name: getattr(found, name) for name in ("mean", "rstd", "scale", "shift")}
        table = spec.moments.pack(rows | {"1/m": draw.round(1 / found.m), "present": np.asarray(present)})
        bounds = {
            **dict.fromkeys(("mean", "scale", "shift"), 0.0),
            "db": draw.bound(present + 4, terms_magnitude.db),
            "dw": draw.bound(present + 6, terms_magnitude.dw),
        }
        expected = list(_rows(spec.terms, 3, terms, bounds))
        operands = [
            Operand("parts", NormParts.of(spec.x).pack(sums, weighted)),
            Operand("moments", table),
            None,
            Operand("terms", _unwritten(spec.terms.size_bytes, spec.x), is_output=True),
        ]
        if spec.has_scale or spec.has_bias:
            operands[2] = Operand("dw", _unwritten(spec.vectors.size_bytes, spec.x), is_output=True)
            for at, (name, value) in enumerate((("dw", dw), ("db", db))):
                bound = draw.bound(present + 3, magnitudes[at])
                expected.append(Expected(name, 2, partial(_one_of, spec.vectors, at), value, bound))
        checks = (_present_check(spec.terms, 3, present),)
        yield Case(f", {present} present", tuple(operands), tuple(expected), checks)


def backward_input(spec: specs.BatchNormBackwardInput, draw: Draw) -> Iterable[Case]:
    """Two differences and three products; at a gate that rounding decides, all of dy is added or not."""
    n = spec.x.n
    for present in sorted({n, (n + 1) // 2}):
        x, dy, found = draw(*_shape(spec.x)), draw(*_shape(spec.x)), _draw_moments(spec.x, draw)
        y, open_ = _gate(spec.act, x, found, draw)
        terms = Terms(found.mean, found.scale, found.shift, draw(len(found.mean)), draw(len(found.mean)), present)
        (dx,) = spec.compute(dy, x, terms, y)
        magnitude = (
            np.abs(dy * along(terms.scale, x))
            + along(np.abs(terms.db), x)
            + (np.abs(x) + along(np.abs(terms.mean), x)) * along(np.abs(terms.dw), x)
        )
        bound = draw.bound(6, magnitude) + np.where(open_, np.abs(dy * along(terms.scale, x)), 0.0)
        bound[present:] = 0.0
        table = NormTable(ChannelVectors.of(spec.x), NormTable.TERMS)
        yield Case(
            f", {present} present",
            (
                Operand("dy", spec.dy.pack(dy)),
                Operand("x", spec.x.pack(x)),
                Operand("terms", table.pack({**terms._asdict(), "present": np.asarray(present)})),
                Operand("dx", unwritten(spec.dx), is_output=True),
            ),
            (Expected("dx", 3, spec.dx.unpack, dx, bound),),
            (padding_check("dx", 3, spec.dx),),
            in_place=(0, 3) if spec.dy == spec.dx else None,
        )


def _shape(layout: Activations) -> tuple[int, ...]:
    return (layout.n, layout.c, layout.h, layout.w) if isinstance(layout, Image) else (layout.n, layout.features)


def _middle(x: Activations) -> int:
    """The pixel that the kernel takes as K: in the middle of a plane, or of its middle row."""
    if not isinstance(x, Image):
        return 0
    return x.h * x.w // 2 if x.cols == x.w else x.h // 2 * x.w + x.w // 2


def _draw_moments(x: Activations, draw: Draw) -> Moments:
    c = ChannelVectors.of(x).c
    rstd = draw.round(np.abs(draw(c)) + 0.5)
    return Moments(draw(c), np.abs(draw(c)), rstd, draw(c), draw(c), 1, x.n)


def _y_bound(draw: Draw, x: Array, found: Moments) -> Array:
    """Of y = (x - mean) scale + shift."""
    apart = (np.abs(x) + along(np.abs(found.mean), x)) * along(np.abs(found.scale), x)
    return np.asarray(draw.bound(4, apart + along(np.abs(found.shift), x)))


def _gate(act: specs.Activation, x: Array, found: Moments, draw: Draw) -> tuple[Array, Array]:
    """y behind the gate, and where rounding decides on which side of zero it is."""
    z = (x - along(found.mean, x)) * along(found.scale, x) + along(found.shift, x)
    if not act:
        return z, np.zeros(z.shape, bool)
    return op_of(act).f(z), np.abs(z) <= _y_bound(draw, x, found)


def _unwritten(n_bytes: int, x: Activations) -> Array:
    return np.full(n_bytes // x.element_bytes, np.nan, x.dtype)


def _loss_head(x: Activations, present: int) -> Array:
    """The loss block's head: 1 / present, and present as a u32 at byte 8."""
    head = np.zeros(LINE_BYTES // x.element_bytes, x.dtype)
    head[0] = 1 / present
    head.view(np.uint32)[2] = present
    return head


def _one_of(vectors: ChannelVectors, which: int, flat: Array) -> Array:
    return vectors.unpack(flat)[which]


def _rows(
    table: NormTable, operand: int, found: Moments | Terms, bounds: dict[str, Array | float]
) -> tuple[Expected, ...]:
    return tuple(
        Expected(name, operand, partial(table.row, row=name), getattr(found, name), bound)
        for name, bound in bounds.items()
    )


def _present_check(table: NormTable, operand: int, present: int) -> Check:
    """Every block says how many samples are there."""

    def check(memory: list[Array]) -> Iterable[str]:
        blocks = memory[operand].view(np.uint32).reshape(table.vectors.n_blocks, -1)
        found = blocks[:, table.row_bytes("present") // 4]
        if (found != present).any():
            yield f"present: {found.tolist()} instead of {present}"

    return check
