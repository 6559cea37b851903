"""Cases of the convolution kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from asmgen.harness.activation_bounds import bounds_of
from asmgen.harness.cases.case import (
    Array,
    Case,
    Check,
    Draw,
    Expected,
    Operand,
    is_power_of_two,
    n_codes,
    pack_codes,
    padding_check,
    unpack_codes,
    unwritten,
    weights_padding_check,
)
from asmgen.harness.cases.parts import Parts
from asmgen.plan import specs
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Image
from asmgen.plan.specs import Activation, Pool
from asmgen.reference import conv, ops
from asmgen.reference.activations import activate

UNWRITTEN_CODE = 0xEE
_PooledWeights = specs.Conv2dBackwardWeightsSparse | specs.Conv2dBackwardWeightsPooled
_EXTRA_IMAGES = 2  # images in the set beyond the batch


@dataclass(frozen=True)
class Input:
    """x of a case: what the reference takes (u8 where the kernel reads pixels), its numbers, and the kernel's operand.

    magnitude, n_roundings: of the terms that make a number, and how many roundings make it. is_exact: of the numbers.
    """

    value: Array
    numbers: Array
    magnitude: Array
    n_roundings: int
    is_exact: bool
    operand: Operand


def _input(c: specs.Conv, draw: Draw) -> Input:
    """x, or images in any order in a data set; pixels of integer data are small, so that sums of them stay exact."""
    x, pixels = c.x, c.pixels
    shape = (x.n, x.c, x.h, x.w)
    if pixels is None:
        numbers = draw(*shape)
        return Input(numbers, numbers, np.abs(numbers), 0, True, Operand("x", x.pack(numbers)))
    images = draw.rng.integers(0, 5 if draw.is_exact else 256, (x.n + _EXTRA_IMAGES, *shape[1:])).astype(np.uint8)
    indices = draw.rng.permutation(len(images))[: x.n]
    indices[0], indices[-1] = 0, len(images) - 1
    data_set = Operand("images", images.reshape(-1), align=1)
    addresses = np.asarray(indices * images[0].size, np.uint64)
    constants = np.array([pixels.scale, pixels.shift]).reshape(2, 1, x.c, 1, 1)
    chosen = images[indices]
    return Input(
        value=chosen,
        numbers=conv.numbers(c, chosen),
        magnitude=chosen * np.abs(constants[0]) + np.abs(constants[1]),
        n_roundings=3,
        is_exact=bool(np.all(constants == np.round(constants))),
        operand=Operand("pixels", addresses, align=8, target=data_set),
    )


def forward(spec: specs.Conv2dForward, draw: Draw) -> Iterable[Case]:
    """Bound: a z is a sum of c*kh*kw products and the bias; the maximum moves no further than its inputs."""
    c, weights, pool = spec.conv, spec.conv.weights, spec.pool
    x, w = _input(c, draw), draw(weights.oc, weights.c, weights.kh, weights.kw)
    b = draw(weights.oc) if c.bias else np.zeros(weights.oc)
    y, _ = ops.run(spec, x.value, w, b)
    z = conv.forward(c, x.numbers, w, b)
    magnitude = conv.forward(c, x.magnitude, np.abs(w), np.abs(b))
    n_roundings = weights.c * weights.kh * weights.kw + 1 + x.n_roundings
    z_bound = np.broadcast_to(draw.bound(n_roundings, magnitude, exact=x.is_exact), z.shape)
    bound = activated_bound(spec.act, pool, z, z_bound, draw)
    operands = [
        x.operand,
        Operand("w", weights.pack(w, b)),
        Operand("y", unwritten(spec.y), is_output=True),
        None,
    ]
    checks = [padding_check("y", 2, spec.y)]
    if spec.codes:
        assert pool is not None
        operands[3] = Operand("codes", np.full(n_codes(spec.y), UNWRITTEN_CODE, np.uint8), is_output=True)
        checks.append(codes_check(3, spec.y, pool, ops.windows(z, pool), ops.windows(z_bound, pool)))
    yield Case("", tuple(operands), (Expected("y", 2, spec.y.unpack, y, bound),), tuple(checks))


def activated_bound(act: Activation, pool: Pool | None, z: Array, z_bound: Array, draw: Draw) -> Array:
    """The bound of pool(act(z)), from that of z: slopes are at most 1; f and a mean add their own roundings."""
    f = np.abs(activate(act, z))
    bound: Array = z_bound + bounds_of(act).value(draw, f)
    if pool is None:
        return bound
    if pool.kind == "max":
        return np.asarray(ops.windows(bound, pool).max(-1))
    size = pool.ph * pool.pw
    rounding = draw.bound(size + 2, ops.windows(f, pool).mean(-1), exact=is_power_of_two(size))
    return np.asarray(ops.windows(bound, pool).mean(-1) + rounding)


def codes_check(operand: int, y: Image, pool: Pool, z: Array, bound: Array) -> Check:
    """Codes as the kernel's own rounding may see them: z and bound are [n, c, oh, ow, window].

    max: the element named is the first maximum, or within both bounds of it. avg: every bit of an element farther
    from zero than its bound is right.
    """
    first, best = z.argmax(-1), z.max(-1)
    best_bound = np.take_along_axis(bound, first[..., None], -1)[..., 0]

    def check(memory: list[Array]) -> Iterable[str]:
        codes = unpack_codes(y, memory[operand])
        if pool.kind == "max":
            inside = codes < z.shape[-1]
            named = np.where(inside, codes, 0)[..., None].astype(np.intp)
            gap = best - np.take_along_axis(z, named, -1)[..., 0]
            slack = best_bound + np.take_along_axis(bound, named, -1)[..., 0]
            bad = ~(inside & ((codes == first) | ((slack > 0) & (gap <= slack))))
            expected = first
        else:
            sure = np.abs(z) > bound if np.any(bound) else np.ones(z.shape, bool)
            weights = 1 << np.arange(z.shape[-1])
            expected = ((z > 0) * weights).sum(-1)
            bad = ((codes ^ expected) & (sure * weights).sum(-1)) != 0
        if np.any(bad):
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            yield f"codes: {int(bad.sum())} of {bad.size} wrong, first at {at}: {codes[at]}, expected {expected[at]}"

    return check


def unpool(spec: specs.Conv2dUnpool, draw: Draw) -> Iterable[Case]:
    """Bound: one product with a slope, and one with 1/(ph*pw); otherwise values are copied."""
    pool, image = spec.pool, spec.y
    dy = draw(image.n, image.c, image.h, image.w)
    y = draw.round(activate(spec.act, draw(*dy.shape)))
    codes = None
    operands = [Operand("dy", spec.dy.pack(dy)), Operand("y", image.pack(y)), None]
    size = pool.ph * pool.pw if pool else 1
    if pool and (pool.kind == "max" or spec.act):
        codes = draw.codes(size if pool.kind == "max" else 1 << size, *dy.shape)
        operands[2] = Operand("codes", pack_codes(image, codes, draw.codes(256, n_codes(image))))
    (dz,) = ops.run(spec, dy, y, codes)
    divides = pool is not None and pool.kind == "avg" and not is_power_of_two(size)
    rounds = divides or bounds_of(spec.act).slope is not None
    operands.append(Operand("dz", unwritten(spec.dz), is_output=True))
    bound = 3 * (draw.eps * np.abs(dz) + draw.tiny) if rounds else 0.0
    yield Case("", tuple(operands), (Expected("dz", 3, spec.dz.unpack, dz, bound),), (padding_check("dz", 3, spec.dz),))


def backward_input(spec: specs.Conv2dBackwardInput, draw: Draw) -> Iterable[Case]:
    """Bound: a sum of at most oc*kh*kw products."""
    dz = draw(spec.conv.x.n, spec.conv.weights.oc, spec.conv.oh, spec.conv.ow)
    yield _input_case(spec, draw, "", (dz,), (Operand("dz", spec.dz.pack(dz)),))


def backward_input_pooled(spec: specs.Conv2dBackwardInputPooled, draw: Draw) -> Iterable[Case]:
    """As backward_input, for few, for all and for no live entries."""
    for title, gradient, operands in _pooled_gradients(spec, draw):
        yield _input_case(spec, draw, title, gradient, operands)


def _input_case(
    spec: specs.Conv2dBackwardInput | specs.Conv2dBackwardInputPooled,
    draw: Draw,
    title: str,
    gradient: tuple[Array | None, ...],
    gradient_operands: tuple[Operand | None, ...],
) -> Case:
    """dx from a gradient, of which the first array has values and the others name positions."""
    weights, at = spec.conv.weights, 1 + len(gradient)
    w = draw(weights.oc, weights.c, weights.kh, weights.kw)
    values, *positions = gradient
    assert values is not None
    (dx,) = ops.run(spec, *gradient, w)
    (magnitude,) = ops.run(spec, np.abs(values), *positions, np.abs(w))
    turned = weights.input_gradient()
    packed = turned.pack(w.transpose(1, 0, 2, 3), np.zeros(turned.oc))[
        : turned.bias_offset_bytes // turned.element_bytes
    ]
    operands = (*gradient_operands, Operand("w_dx", packed), Operand("dx", unwritten(spec.dx), is_output=True))
    bound = draw.bound(weights.oc * weights.kh * weights.kw, magnitude, exact=True)
    return Case(title, operands, (Expected("dx", at, spec.dx.unpack, dx, bound),), (padding_check("dx", at, spec.dx),))


def backward_weights(spec: specs.Conv2dBackwardWeights, draw: Draw) -> Iterable[Case]:
    """Bound: a sum of n*oh*ow products."""
    c = spec.conv
    dz = draw(c.x.n, c.weights.oc, c.oh, c.ow)
    yield _weights_case(spec, draw, "", (dz,), (Operand("dz", spec.dz.pack(dz)),), c.weights)


def backward_weights_pooled(spec: _PooledWeights, draw: Draw) -> Iterable[Case]:
    """As backward_weights, for few, for all and for no live entries."""
    layout = spec.conv.weights.by_input() if isinstance(spec, specs.Conv2dBackwardWeightsSparse) else spec.conv.weights
    for title, gradient, operands in _pooled_gradients(spec, draw):
        yield _weights_case(spec, draw, title, gradient, operands, layout)


def _pooled_gradients(
    spec: _PooledWeights | specs.Conv2dBackwardInputPooled, draw: Draw
) -> Iterator[tuple[str, tuple[Array, Array | None], tuple[Operand, Operand | None]]]:
    """(title, (dy, codes), their operands); without a pool there are no codes."""
    image, pool = spec.dy, spec.pool
    for title, share in (("some live", 0.4), ("all live", 1.0), ("none live", 0.0)):
        dy = draw(image.n, image.c, image.h, image.w)
        dy *= draw.rng.uniform(size=dy.shape) < share
        codes = draw.codes(pool.ph * pool.pw, *dy.shape) if pool else None
        packed = (
            Operand("codes", pack_codes(image, codes, draw.codes(256, n_codes(image)))) if codes is not None else None
        )
        yield title, (dy, codes), (Operand("dy", image.pack(dy)), packed)


def _weights_case(
    spec: specs.ConvWeightGradient,
    draw: Draw,
    title: str,
    gradient: tuple[Array | None, ...],
    gradient_operands: tuple[Operand | None, ...],
    layout: ConvWeights | ConvWeightsByInput,
) -> Case:
    """dw and db from x and a gradient, of which the first array has values and the others name positions.

    In parts: their sum is compared.
    """
    c = spec.conv
    values, *positions = gradient
    assert values is not None
    x = _input(c, draw)
    dw, db = ops.run(spec, x.value, *gradient)
    of_numbers = replace(spec, conv=replace(c, pixels=None))
    dw_magnitude, db_magnitude = ops.run(of_numbers, x.magnitude, np.abs(values), *positions)
    length, at = c.x.n * c.oh * c.ow, 1 + len(gradient)
    parts = Parts(layout, spec.sample_parts, c.bias)
    bound = draw.bound(length + x.n_roundings, dw_magnitude, exact=x.is_exact)
    expected = [Expected("dw", at, parts.total(0), dw, bound)]
    if c.bias:
        bound = draw.bound(length, db_magnitude, exact=True)
        expected.append(Expected("db", at, parts.total(1), db, bound))
    operands = (x.operand, *gradient_operands, parts.operand())
    return Case(title, operands, tuple(expected), (parts.padding_check(at),))


def pack_dx(spec: specs.Conv2dPackBackwardInput, draw: Draw) -> Iterable[Case]:
    """Exact: values are moved. The bias behind w is not read into w_dx."""
    weights, turned = spec.weights, spec.weights.input_gradient()
    w = draw(weights.oc, weights.c, weights.kh, weights.kw)
    size = turned.bias_offset_bytes // turned.element_bytes
    no_bias = np.zeros(turned.size_bytes // turned.element_bytes - size, turned.dtype)

    def unpack(flat: Array) -> Array:
        return turned.unpack(np.concatenate([flat, no_bias]))[0].transpose(1, 0, 2, 3)

    def padding(memory: list[Array]) -> Iterable[str]:
        return weights_padding_check("w_dx", 0, turned)([np.concatenate([memory[1], no_bias])])

    operands = (
        Operand("w", weights.pack(w, draw(weights.oc))),
        Operand("w_dx", np.full(size, np.nan, turned.dtype), is_output=True),
    )
    yield Case("", operands, (Expected("w_dx", 1, unpack, ops.run(spec, w)[0], 0.0),), (padding,))


def pack_fwd(spec: specs.Conv2dPackForward, draw: Draw) -> Iterable[Case]:
    """Exact: values are moved, the bias too."""
    weights, turned = spec.weights, spec.weights.by_output()
    w, b = draw(weights.oc, weights.c, weights.kh, weights.kw), draw(weights.oc)
    operands = (
        Operand("w", weights.pack(w, b)),
        Operand("w_fwd", np.full(turned.size_bytes // turned.element_bytes, np.nan, turned.dtype), is_output=True),
    )
    expected_w, expected_b = ops.run(spec, w, b)
    expected = (
        Expected("w_fwd", 1, lambda flat: turned.unpack(flat)[0], expected_w, 0.0),
        Expected("bias", 1, lambda flat: turned.unpack(flat)[1], expected_b, 0.0),
    )
    yield Case("", operands, expected, (weights_padding_check("w_fwd", 1, turned),))
