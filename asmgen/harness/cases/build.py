"""The cases of a spec: one builder an op, whose docstring says what the bounds are derived from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from asmgen.harness.activation_bounds import bounds_of
from asmgen.harness.cases import conv as conv_cases
from asmgen.harness.cases import depthwise as depthwise_cases
from asmgen.harness.cases import loss as loss_cases
from asmgen.harness.cases import norm as norm_cases
from asmgen.harness.cases import optimizer as update_cases
from asmgen.harness.cases import sparse as sparse_cases
from asmgen.harness.cases import winograd as winograd_cases
from asmgen.harness.cases.case import (
    Array,
    Case,
    Draw,
    Expected,
    Operand,
    is_power_of_two,
    n_codes,
    pack_codes,
    padding_check,
    unwritten,
)
from asmgen.harness.cases.conv import codes_check
from asmgen.plan import specs
from asmgen.plan.layout import LINE_BYTES, Activations, Image
from asmgen.plan.specs import KernelSpec
from asmgen.reference import ops
from asmgen.reference.activations import activate

_EXTRA_IMAGES = 3  # images in the set beyond the batch


def build_cases(spec: KernelSpec, data: str, seed: int, precision: str = "float32") -> list[Case]:
    """Cases of a spec with one of the data sets of case.DATA; the same seed gives the same cases.

    precision "tf32": values that this format holds.
    """
    rng = np.random.default_rng([seed, *map(ord, data)])
    return list(_BUILDERS[type(spec)](spec, Draw(rng, data, _dtype(spec), precision)))


def _dtype(spec: Any) -> str:
    """The element type of a spec's tensors."""
    if hasattr(spec, "conv"):
        return str(spec.conv.x.dtype)
    if isinstance(spec, specs.BatchNormRunning):
        return spec.running.vectors.dtype
    parts = (getattr(spec, name) for name in ("dst", "z", "weights", "x", "y", "dy") if hasattr(spec, name))
    return str(next(parts, spec).dtype)


def _shape(layout: Activations) -> tuple[int, ...]:
    return (layout.n, layout.c, layout.h, layout.w) if isinstance(layout, Image) else (layout.n, layout.features)


def load_input(spec: specs.LoadInput, draw: Draw) -> Iterable[Case]:
    """Bound: the constants, one product and one sum are rounded."""
    n = spec.dst.n
    images = draw.rng.integers(0, 256, (n + _EXTRA_IMAGES, spec.c, spec.h, spec.w)).astype(np.uint8)
    images[0].flat[:2] = 0, 255
    indices = draw.rng.integers(0, len(images), n).astype(np.uint32)
    indices[0], indices[-1] = 0, len(images) - 1
    (dst,) = ops.run(spec, images, indices)
    per_channel = (1, spec.c, 1, 1)
    magnitude = images[indices] * np.abs(np.reshape(spec.scale, per_channel)) + np.abs(
        np.reshape(spec.shift, per_channel)
    )
    operands = (
        Operand("images", images.reshape(-1), align=1),
        Operand("indices", indices, align=4),
        Operand("dst", unwritten(spec.dst), is_output=True),
    )
    bound = np.reshape(draw.bound(3, magnitude), dst.shape)
    yield Case("", operands, (Expected("dst", 2, spec.dst.unpack, dst, bound),), (padding_check("dst", 2, spec.dst),))


def pool_forward(spec: specs.PoolForward, draw: Draw) -> Iterable[Case]:
    """Max: exact. Average: a sum of ph*pw terms and the factor."""
    x = draw(*_shape(spec.x))
    y, codes = ops.run(spec, x)
    operands = [Operand("x", spec.x.pack(x)), Operand("y", unwritten(spec.y), is_output=True)]
    checks = [padding_check("y", 1, spec.y)]
    bound: Array | float = 0.0
    if codes is not None:
        x_windows = ops.windows(x, spec.pool)[:, :, : spec.y.h, : spec.y.w]
        operands.append(Operand("codes", np.full(n_codes(spec.y), 0xEE, np.uint8), is_output=True))
        checks.append(codes_check(2, spec.y, spec.pool, x_windows, np.zeros(x_windows.shape)))
    elif spec.pool.kind == "avg":
        size = spec.pool.ph * spec.pool.pw
        bound = draw.bound(size + 2, ops.run(spec, np.abs(x))[0], exact=is_power_of_two(size))
    yield Case("", tuple(operands), (Expected("y", 1, spec.y.unpack, y, bound),), tuple(checks))


def pool_backward(spec: specs.PoolBackward, draw: Draw) -> Iterable[Case]:
    """A sum of at most ph*pw terms; the average's factor is one more rounding. Tiling maxima are copied: exact."""
    size = spec.pool.ph * spec.pool.pw
    dy = draw(*_shape(spec.dy))
    operands = [Operand("dy", spec.dy.pack(dy)), None]
    codes = None
    if spec.pool.kind == "max":
        codes = draw.codes(size, *dy.shape)
        operands[1] = Operand("codes", pack_codes(spec.dy, codes, draw.codes(256, n_codes(spec.dy))))
    (dx,) = ops.run(spec, dy, codes)
    exact = spec.pool.kind == "max" or is_power_of_two(size)
    bound = draw.bound(size + 2, ops.run(spec, np.abs(dy), codes)[0], exact=exact)
    operands.append(Operand("dx", unwritten(spec.dx), is_output=True))
    yield Case("", tuple(operands), (Expected("dx", 2, spec.dx.unpack, dx, bound),), (padding_check("dx", 2, spec.dx),))


def dropout(spec: specs.Dropout, draw: Draw) -> Iterable[Case]:
    """One product with a rounded factor, where a value stays; of several seeds and steps, small and large ones."""
    x = draw(*_shape(spec.x))
    for seed, step in ((0, 0), (0x0123456789ABCDEF, 7), (5, 0xFFFFFFFF)):
        (y,) = spec.compute(x, (seed, step))
        head = np.zeros(LINE_BYTES // 8, np.uint64)
        head[2:4] = seed, step
        yield Case(
            f", seed {seed}, step {step}",
            (
                Operand("x", spec.x.pack(x)),
                Operand("loss block", head),
                Operand("y", unwritten(spec.y), is_output=True),
            ),
            (Expected("y", 2, spec.y.unpack, y, draw.bound(2, np.abs(y))),),
            (padding_check("y", 2, spec.y),),
            in_place=(0, 2) if spec.x == spec.y else None,
        )


def global_avg_pool_forward(spec: specs.GlobalAvgPoolForward, draw: Draw) -> Iterable[Case]:
    """A sum of h*w terms and the factor; exact for integers and a power of two."""
    size = spec.x.h * spec.x.w
    x = draw(*_shape(spec.x))
    (y,) = ops.run(spec, x)
    bound = draw.bound(size + 2, ops.run(spec, np.abs(x))[0], exact=is_power_of_two(size))
    operands = (Operand("x", spec.x.pack(x)), Operand("y", unwritten(spec.y), is_output=True))
    yield Case("", operands, (Expected("y", 1, spec.y.unpack, y, bound),), (padding_check("y", 1, spec.y),))


def global_avg_pool_backward(spec: specs.GlobalAvgPoolBackward, draw: Draw) -> Iterable[Case]:
    """One product with a rounded factor; exact for integers and a power of two."""
    dy = draw(*_shape(spec.dy))
    (dx,) = ops.run(spec, dy)
    bound = draw.bound(2, np.abs(dx), exact=is_power_of_two(spec.dx.h * spec.dx.w))
    operands = (Operand("dy", spec.dy.pack(dy)), Operand("dx", unwritten(spec.dx), is_output=True))
    yield Case("", operands, (Expected("dx", 1, spec.dx.unpack, dx, bound),), (padding_check("dx", 1, spec.dx),))


def act_forward(spec: specs.ActForward, draw: Draw) -> Iterable[Case]:
    """Bound: the activation's own (asmgen/harness/activation_bounds.py)."""
    x = draw(*_shape(spec.x)) * 4
    extremes = draw.round([0.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4, 1e-6, -1e-6])[: x.size]
    x.reshape(-1)[: extremes.size] = extremes
    (y,) = ops.run(spec, x)
    yield Case(
        "",
        (Operand("x", spec.x.pack(x)), Operand("y", unwritten(spec.y), is_output=True)),
        (Expected("y", 1, spec.y.unpack, y, bounds_of(spec.act).value(draw, y)),),
        (padding_check("y", 1, spec.y),),
        in_place=(0, 1) if spec.x == spec.y else None,
    )


def act_backward(spec: specs.ActBackward, draw: Draw) -> Iterable[Case]:
    """Bound: four roundings of terms no larger than the activation's own bound of them. Some x lie at kinks."""
    dy = draw(*_shape(spec.dy))
    x, seen = draw(*dy.shape) * 2, spec.act.traits.slope_from
    kinks = draw.round([0.0, -3.0, 3.0, 6.0, 7.0])[: x.size]
    x.reshape(-1)[: kinks.size] = kinks
    saved = x if seen == "x" else draw.round(activate(spec.act, x))
    (dx,) = ops.run(spec, dy, saved)
    magnitude = bounds_of(spec.act).slope
    bound = draw.bound(4, np.abs(dy) * magnitude(spec.act, saved)) if magnitude else 0.0
    yield Case(
        "",
        (
            Operand("dy", spec.dy.pack(dy)),
            Operand(seen, spec.saved.pack(saved)),
            Operand("dx", unwritten(spec.dx), is_output=True),
        ),
        (Expected("dx", 2, spec.dx.unpack, dx, bound),),
        (padding_check("dx", 2, spec.dx),),
        in_place=(0, 2) if spec.dy == spec.dx else None,
    )


def add(spec: specs.Add, draw: Draw) -> Iterable[Case]:
    """One rounding; in place of either term where the layouts allow it."""
    a, b = draw(*_shape(spec.a)), draw(*_shape(spec.b))
    (y,) = ops.run(spec, a, b)
    operands = (
        Operand("a", spec.a.pack(a)),
        Operand("b", spec.b.pack(b)),
        Operand("y", unwritten(spec.y), is_output=True),
    )
    expected = (Expected("y", 2, spec.y.unpack, y, draw.bound(1, np.abs(a) + np.abs(b), exact=True)),)
    checks = (padding_check("y", 2, spec.y),)
    places = [(i, 2) for i, layout in enumerate((spec.a, spec.b)) if layout == spec.y]
    if not places:
        yield Case("", operands, expected, checks)
    for place in places:
        yield Case(f"y in place of {operands[place[0]].name}", operands, expected, checks, place)


def concat_forward(spec: specs.ConcatForward, draw: Draw) -> Iterable[Case]:
    """Exact. y holds numbers of other inputs, in its padding, too, where that is not the last one's to write."""
    x, before = draw(*_shape(spec.x)), draw(*_shape(spec.y))
    (y,) = ops.run(spec, x, before)
    (is_own,) = (spec.y.pack(part) == 1 for part in ops.run(spec, np.ones(x.shape), np.zeros(y.shape)))
    is_padding = np.isnan(unwritten(spec.y)) & (spec.y.pack(np.ones(y.shape)) == 0)
    memory = spec.y.pack(before)
    memory[is_own] = np.nan
    memory[is_padding] = np.nan if spec.range.is_last else 7

    def padding_is_left_alone(after: list[Array]) -> Iterable[str]:
        if not np.all(after[1][is_padding] == 7):
            yield "y: padding was written, but other inputs lie behind this one"

    check = padding_check("y", 1, spec.y) if spec.range.is_last else padding_is_left_alone
    operands = (Operand("x", spec.x.pack(x)), Operand("y", memory, is_output=True))
    yield Case("", operands, (Expected("y", 1, spec.y.unpack, y, 0.0),), (check,))


def concat_backward(spec: specs.ConcatBackward, draw: Draw) -> Iterable[Case]:
    """Exact."""
    dy = draw(*_shape(spec.dy))
    (dx,) = ops.run(spec, dy)
    operands = (Operand("dy", spec.dy.pack(dy)), Operand("dx", unwritten(spec.dx), is_output=True))
    yield Case("", operands, (Expected("dx", 1, spec.dx.unpack, dx, 0.0),), (padding_check("dx", 1, spec.dx),))


def in_order_forward(spec: specs.InOrderForward, draw: Draw) -> Iterable[Case]:
    """Exact."""
    x = draw(*_shape(spec.x))
    (y,) = ops.run(spec, x)
    operands = (Operand("x", spec.x.pack(x)), Operand("y", unwritten(spec.y), is_output=True))
    yield Case("", operands, (Expected("y", 1, spec.y.unpack, y, 0.0),), (padding_check("y", 1, spec.y),))


def in_order_backward(spec: specs.InOrderBackward, draw: Draw) -> Iterable[Case]:
    """Exact."""
    dy = draw(*_shape(spec.dy))
    (dx,) = ops.run(spec, dy)
    operands = (Operand("dy", spec.dy.pack(dy)), Operand("dx", unwritten(spec.dx), is_output=True))
    yield Case("", operands, (Expected("dx", 1, spec.dx.unpack, dx, 0.0),), (padding_check("dx", 1, spec.dx),))


def dense_forward(spec: specs.DenseForward | specs.DenseForwardByOutput, draw: Draw) -> Iterable[Case]:
    """A sum of `features` products and the bias."""
    weights = spec.weights
    x, w = draw(*_shape(spec.x)), draw(weights.out, spec.x.features)
    b = draw(weights.out) if spec.bias else np.zeros(weights.out)
    (y,) = ops.run(spec, x, w, b)
    magnitude = np.abs(x) @ np.abs(w).T + np.abs(b)
    bound = draw.bound(spec.x.features + 1, magnitude, exact=True) + bounds_of(spec.act).value(draw, y)
    operands = (
        Operand("x", spec.x.pack(x)),
        Operand("w", weights.pack(w, b)),
        Operand("y", unwritten(spec.y), is_output=True),
    )
    yield Case("", operands, (Expected("y", 2, spec.y.unpack, y, bound),), (padding_check("y", 2, spec.y),))


def dense_dx(spec: specs.DenseBackwardInput, draw: Draw) -> Iterable[Case]:
    """A sum of `out` products."""
    weights = spec.weights
    dy, w = draw(*_shape(spec.dy)), draw(weights.out, spec.dx.features)
    (dx,) = ops.run(spec, dy, w)
    bound = draw.bound(weights.out, np.abs(dy) @ np.abs(w), exact=True)
    operands = (
        Operand("dy", spec.dy.pack(dy)),
        Operand("w", weights.pack(w, draw(weights.out))),
        Operand("dx", unwritten(spec.dx), is_output=True),
    )
    yield Case("", operands, (Expected("dx", 2, spec.dx.unpack, dx, bound),), (padding_check("dx", 2, spec.dx),))


def sum_parts(spec: specs.SumParts, draw: Draw) -> Iterable[Case]:
    """Bound: a sum of `n_parts` terms. What lies between the parts is not read."""
    n, stride = spec.n_vectors * spec.block, spec.stride_bytes // spec.element_bytes
    parts = draw(spec.n_parts, n)
    packed = np.full((spec.n_parts, stride), np.nan, spec.dtype)
    packed[:, :n] = parts
    bound = draw.bound(spec.n_parts, np.abs(parts).sum(0), exact=True)
    operands = (
        Operand("parts", packed.reshape(-1)[: (spec.n_parts - 1) * stride + n]),
        Operand("dw", np.full(n, np.nan, spec.dtype), is_output=True),
    )
    yield Case("", operands, (Expected("dw", 1, lambda flat: flat, ops.run(spec, parts)[0], bound),))


_BUILDERS: dict[type[KernelSpec], Callable[[Any, Draw], Iterable[Case]]] = {
    specs.LoadInput: load_input,
    specs.Conv2dForward: conv_cases.forward,
    specs.Conv2dUnpool: conv_cases.unpool,
    specs.Conv2dBackwardInput: conv_cases.backward_input,
    specs.Conv2dBackwardInputPooled: conv_cases.backward_input_pooled,
    specs.Conv2dBackwardWeights: conv_cases.backward_weights,
    specs.Conv2dBackwardWeightsSparse: conv_cases.backward_weights_pooled,
    specs.Conv2dBackwardWeightsPooled: conv_cases.backward_weights_pooled,
    specs.LiveEntries: sparse_cases.live_entries,
    specs.Conv2dBackwardInputSparse: sparse_cases.backward_input,
    specs.Conv2dPackBackwardInput: conv_cases.pack_dx,
    specs.Conv2dPackForward: conv_cases.pack_fwd,
    specs.SumParts: sum_parts,
    specs.DepthwiseForward: depthwise_cases.forward,
    specs.DepthwiseBackwardInput: depthwise_cases.backward_input,
    specs.DepthwiseBackwardWeights: depthwise_cases.backward_weights,
    specs.PoolForward: pool_forward,
    specs.PoolBackward: pool_backward,
    specs.GlobalAvgPoolForward: global_avg_pool_forward,
    specs.GlobalAvgPoolBackward: global_avg_pool_backward,
    specs.Dropout: dropout,
    specs.BatchNormParts: norm_cases.parts,
    specs.BatchNormMoments: norm_cases.moments,
    specs.BatchNormFrozen: norm_cases.frozen,
    specs.BatchNormRunning: norm_cases.running,
    specs.BatchNormForward: norm_cases.forward,
    specs.BatchNormGradientParts: norm_cases.gradient_parts,
    specs.BatchNormBackwardWeights: norm_cases.backward_weights,
    specs.BatchNormBackwardInput: norm_cases.backward_input,
    specs.ActForward: act_forward,
    specs.ActBackward: act_backward,
    specs.Add: add,
    specs.ConcatForward: concat_forward,
    specs.ConcatBackward: concat_backward,
    specs.InOrderForward: in_order_forward,
    specs.InOrderBackward: in_order_backward,
    specs.DenseForward: dense_forward,
    specs.DenseForwardByOutput: dense_forward,
    specs.DenseBackwardInput: dense_dx,
    specs.DenseBackwardWeights: update_cases.dense_dw,
    specs.DenseBackwardWeightsStep: update_cases.dense_dw_step,
    specs.WinogradWeights: winograd_cases.weights,
    specs.Conv2dForwardWinograd: winograd_cases.forward,
    specs.Conv2dBackwardInputWinograd: winograd_cases.backward_input,
    specs.Loss: loss_cases.loss,
    specs.Probabilities: loss_cases.probabilities,
    specs.Update: update_cases.update,
}
