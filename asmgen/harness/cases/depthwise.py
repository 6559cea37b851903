"""Cases of the depthwise convolution. Bounds: sums over the taps, or over the pixels of all samples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from asmgen.harness.cases.case import (
    Case,
    Draw,
    Expected,
    Operand,
    padding_check,
    unwritten,
)
from asmgen.harness.cases.parts import Parts
from asmgen.plan import specs
from asmgen.reference import ops


def forward(spec: specs.DepthwiseForward, draw: Draw) -> Iterable[Case]:
    """A sum of kh*kw products and the bias."""
    conv, w_layout = spec.conv, spec.conv.weights
    x = draw(conv.x.n, conv.x.c, conv.x.h, conv.x.w)
    w = draw(w_layout.oc, 1, w_layout.kh, w_layout.kw)
    b = draw(w_layout.oc) if conv.bias else np.zeros(w_layout.oc)
    (y,) = ops.run(spec, x, w, b)
    (magnitude,) = ops.run(spec, np.abs(x), np.abs(w), np.abs(b))
    bound = draw.bound(w_layout.kh * w_layout.kw + 1, magnitude, exact=True)
    operands = (
        Operand("x", conv.x.pack(x)),
        Operand("w", w_layout.pack(w, b)),
        Operand("y", unwritten(spec.y), is_output=True),
    )
    yield Case("", operands, (Expected("y", 2, spec.y.unpack, y, bound),), (padding_check("y", 2, spec.y),))


def backward_input(spec: specs.DepthwiseBackwardInput, draw: Draw) -> Iterable[Case]:
    """A sum of at most kh*kw products."""
    w_layout, dz_layout = spec.conv.weights, spec.dz
    dz = draw(dz_layout.n, dz_layout.c, dz_layout.h, dz_layout.w)
    w = draw(w_layout.oc, 1, w_layout.kh, w_layout.kw)
    (dx,) = ops.run(spec, dz, w)
    (magnitude,) = ops.run(spec, np.abs(dz), np.abs(w))
    bound = draw.bound(w_layout.kh * w_layout.kw, magnitude, exact=True)
    operands = (
        Operand("dz", dz_layout.pack(dz)),
        Operand("w", w_layout.pack(w, draw(w_layout.oc))),
        Operand("dx", unwritten(spec.dx), is_output=True),
    )
    yield Case("", operands, (Expected("dx", 2, spec.dx.unpack, dx, bound),), (padding_check("dx", 2, spec.dx),))


def backward_weights(spec: specs.DepthwiseBackwardWeights, draw: Draw) -> Iterable[Case]:
    """A sum of n*oh*ow products."""
    conv, layout, z = spec.conv, spec.conv.weights, spec.dz
    x, dz = draw(conv.x.n, conv.x.c, conv.x.h, conv.x.w), draw(z.n, z.c, z.h, z.w)
    dw, db = ops.run(spec, x, dz)
    n = z.n * z.h * z.w
    dw_magnitude, db_magnitude = ops.run(spec, np.abs(x), np.abs(dz))
    parts = Parts(layout, spec.sample_parts, conv.bias)
    expected = [Expected("dw", 2, parts.total(0), dw, draw.bound(n, dw_magnitude, exact=True))]
    if conv.bias:
        expected.append(Expected("db", 2, parts.total(1), db, draw.bound(n, db_magnitude, exact=True)))
    operands = (Operand("x", conv.x.pack(x)), Operand("dz", z.pack(dz)), parts.operand())
    yield Case("", operands, tuple(expected), (parts.padding_check(2),))
