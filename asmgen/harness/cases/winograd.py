"""Cases of Winograd's convolution, against the direct one.

The bound of an element is n roundings of the absolute values that its computation adds up: with |X| for X with every
entry's absolute value, |A^T| [sum over c of (|G| |g| |G^T|) * (|B^T| |d| |B|)] |A|. A chain is the sum over c, and at
most _ROUNDINGS more. As that is far from what happens, the root mean square of all errors has a limit, too.

Integers are exact as long as they are below 2^digits, where the filters are multiples of what G divides by.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from asmgen.harness.cases.case import Array, Case, Check, Draw, Expected, Operand, n_codes, padding_check, unwritten
from asmgen.harness.cases.conv import UNWRITTEN_CODE, activated_bound, codes_check
from asmgen.plan import specs
from asmgen.plan.layout import Image
from asmgen.plan.specs.winograd import Correlation
from asmgen.plan.winograd import RMS_LIMITS, TAPS, Transform
from asmgen.reference import conv, ops

_WEIGHTS_ROUNDINGS = 8  # G: 3 a dimension, the divisor's reciprocal and its product
_ROUNDINGS = _WEIGHTS_ROUNDINGS + 20  # B^T: 4 a dimension; the product; A^T: 5 a dimension; the bias


def weights(spec: specs.WinogradWeights, draw: Draw) -> Iterable[Case]:
    """Bound: 3 roundings a dimension, the divisor's reciprocal and its product; the bias is moved."""
    source, u = spec.weights, spec.u
    w, b = draw(source.oc, source.c, TAPS, TAPS), draw(source.oc)
    packed = source.pack(w, b)
    filters = spec.taps.unpack(np.concatenate([packed, np.zeros_like(packed)]))[0].astype(np.float64)
    if spec.mirrored:
        filters = filters[..., ::-1, ::-1]
    if not u.has_bias:
        packed = packed[: source.bias_offset_bytes // source.element_bytes]
    bound = draw.bound(_WEIGHTS_ROUNDINGS, _absolute_weights(u.transform, filters))
    expected = [Expected("u", 1, lambda flat: u.unpack(flat)[0], u.transform.weights(filters), bound)]
    if u.has_bias:
        expected.append(Expected("bias", 1, lambda flat: _bias(u.unpack(flat)[1]), b, 0.0))
    unwritten_u = np.full(u.size_bytes // u.element_bytes, np.nan, u.dtype)
    operands = (Operand("w", packed), Operand("u", unwritten_u, is_output=True))

    def padding(memory: list[Array]) -> Iterable[str]:
        flat = memory[1][: u.bias_offset_bytes // u.element_bytes].reshape(u.n_blocks, -1, u.block)
        if np.any(flat[-1, :, u.outputs - (u.n_blocks - 1) * u.block :] != 0):
            yield "u: pad lanes are not zero"

    yield Case("", operands, tuple(expected), (padding,))


def _bias(found: Array | None) -> Array:
    assert found is not None
    return found


def _absolute_weights(transform: Transform, filters: Array) -> Array:
    """|G| |g| |G^T|."""
    g = np.abs(np.array(transform.g, np.float64))
    return np.asarray(np.einsum("ik,...kl,jl->...ij", g, np.abs(filters), g) / np.abs(transform.divisor_products))


def forward(spec: specs.Conv2dForwardWinograd, draw: Draw) -> Iterable[Case]:
    """Bound: see the module; the maximum moves no further than its inputs."""
    c, pool, u = spec.conv, spec.pool, spec.u
    x, w = draw(c.x.n, c.x.c, c.x.h, c.x.w), _filters(draw, u.transform, u.outputs, u.inputs)
    b = draw(u.outputs) if c.bias else np.zeros(u.outputs)
    y, _ = ops.run(spec, x, w, b)
    z = conv.forward(c, x, w, b)
    z_bound = _bound(draw, spec.correlation, x, w, np.abs(b))
    operands = [
        Operand("x", c.x.pack(x)),
        Operand("u", u.pack(w, b)),
        Operand("y", unwritten(spec.y), is_output=True),
        None,
    ]
    bound = activated_bound(spec.act, pool, z, z_bound, draw)
    checks = [padding_check("y", 2, spec.y), _rms_check(2, spec.y, y, u.m, draw)]
    if spec.codes:
        assert pool is not None
        operands[3] = Operand("codes", np.full(n_codes(spec.y), UNWRITTEN_CODE, np.uint8), is_output=True)
        checks.append(codes_check(3, spec.y, pool, ops.windows(z, pool), ops.windows(z_bound, pool)))
    yield Case("", tuple(operands), (Expected("y", 2, spec.y.unpack, y, bound),), tuple(checks))


def backward_input(spec: specs.Conv2dBackwardInputWinograd, draw: Draw) -> Iterable[Case]:
    """Bound: see the module."""
    c, u = spec.conv, spec.u
    dz, w = draw(c.x.n, u.inputs, c.oh, c.ow), _filters(draw, u.transform, u.inputs, u.outputs)
    (dx,) = ops.run(spec, dz, w)
    turned = w.transpose(1, 0, 2, 3)[..., ::-1, ::-1]
    bound = _bound(draw, spec.correlation, dz, turned, np.zeros(u.outputs))
    operands = (
        Operand("dz", spec.dz.pack(dz)),
        Operand("u", u.pack(w, np.zeros(0))),
        Operand("dx", unwritten(spec.dx), is_output=True),
    )
    checks = (padding_check("dx", 2, spec.dx), _rms_check(2, spec.dx, dx, u.m, draw))
    yield Case("", operands, (Expected("dx", 2, spec.dx.unpack, dx, bound),), checks)


def _filters(draw: Draw, transform: Transform, oc: int, c: int) -> Array:
    """[oc, c, 3, 3]; integers are multiples of what G divides by, so that u is exact."""
    divisor = float(np.abs(transform.divisor_products).max()) if draw.is_exact else 1.0
    return draw(oc, c, TAPS, TAPS) * divisor


def _rms_check(operand: int, layout: Image, expected: Array, m: int, draw: Draw) -> Check:
    """The errors' root mean square is below the limit of F(m x m, 3 x 3)."""
    limit = RMS_LIMITS[m] * draw.eps / float(np.finfo(np.float32).eps)

    def check(memory: list[Array]) -> Iterable[str]:
        error = layout.unpack(memory[operand]).astype(np.float64) - expected
        relative = float(np.sqrt((error**2).mean()) / max(np.sqrt((expected**2).mean()), draw.tiny))
        if not relative <= limit:
            yield f"errors have a relative root mean square of {relative:.2e}, above {limit:.2e}"

    return check


def _bound(draw: Draw, what: Correlation, source: Array, filters: Array, bias: Array) -> Array:
    """Of every output, whichever tile computes it. filters: [outputs, inputs, 3, 3], as the correlation has them."""
    transform, m = what.u.transform, what.u.m
    magnitude = np.zeros((source.shape[0], what.u.outputs, what.rows, what.cols))
    bt, at = (np.abs(np.array(matrix, np.float64)) for matrix in (transform.bt, transform.at))
    u = _absolute_weights(transform, filters).reshape(what.u.outputs, what.u.inputs, -1)
    for sample, result in zip(np.abs(source), magnitude, strict=True):
        padded = np.zeros((what.u.inputs, what.rows + TAPS - 1, what.cols + TAPS - 1))
        top, left = max(0, what.top), max(0, what.left)
        inside = sample[:, top - what.top :, left - what.left :][:, : padded.shape[1] - top, : padded.shape[2] - left]
        padded[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
        tiles = sliding_window_view(padded, (transform.side, transform.side), axis=(1, 2))
        v = np.einsum("ik,crqkl,jl->ijcrq", bt, tiles, bt, optimize=True)
        v = v.reshape(transform.n_positions, what.u.inputs, -1)
        p = np.matmul(u.transpose(2, 0, 1), v).reshape(
            transform.side, transform.side, what.u.outputs, *tiles.shape[1:3]
        )
        for i in range(m):
            for j in range(m):
                z = np.einsum("k,klorq,l->orq", at[i], p, at[j], optimize=True)
                target = result[:, i : i + z.shape[1], j : j + z.shape[2]]
                np.maximum(target, z, out=target)
    magnitude += bias[:, None, None]
    digits = -np.log2(draw.eps) + 1
    if draw.is_exact and magnitude.max() < 2**digits:
        return np.zeros_like(magnitude)
    return np.asarray(draw.bound(what.u.inputs + _ROUNDINGS, magnitude))
