"""Cases of the lists of live entries and of the input gradient that walks them, from no to all entries live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from asmgen.harness.cases.case import (
    Array,
    Case,
    Draw,
    Expected,
    Operand,
    n_codes,
    pack_codes,
    padding_check,
    unwritten,
)
from asmgen.plan import specs
from asmgen.reference import ops

_SHARES = (("some live", 0.5), ("all live", 1.0), ("none live", 0.0))
_UNWRITTEN = 0xEE


def live_entries(spec: specs.LiveEntries, draw: Draw) -> Iterable[Case]:
    """Exact: gradients are moved. What the list holds of each window is compared."""
    for title, dy, codes in _gradients(spec, draw):
        operands = (
            Operand("dy", spec.dy.pack(dy)),
            None if codes is None else Operand("codes", pack_codes(spec.dy, codes, draw.codes(256, n_codes(spec.dy)))),
            Operand("list", np.full(spec.live.size_bytes, _UNWRITTEN, np.uint8), is_output=True),
        )
        yield Case(title, operands, (Expected("list", 2, spec.live.unpack, _windows(spec, dy, codes), 0.0),))


def backward_input(spec: specs.Conv2dBackwardInputSparse, draw: Draw) -> Iterable[Case]:
    """Bound: a sum of at most oc*kh*kw products."""
    weights = spec.conv.weights
    lists = specs.LiveEntries(spec.conv, spec.dy, spec.pool, spec.has_codes)
    for title, dy, codes in _gradients(spec, draw):
        w = draw(weights.oc, weights.c, weights.kh, weights.kw)
        (dz,) = ops.run(lists, dy, codes)
        (dx,) = ops.run(spec, dz, w)
        (magnitude,) = ops.run(spec, np.abs(dz), np.abs(w))
        operands = (
            Operand("list", spec.live.pack(_windows(spec, dy, codes))),
            Operand("w", weights.by_input().pack(w, draw(weights.oc))),
            Operand("dx", unwritten(spec.dx), is_output=True),
        )
        bound = draw.bound(weights.oc * weights.kh * weights.kw, magnitude, exact=True)
        expected = Expected("dx", 2, spec.dx.unpack, dx, bound)
        yield Case(title, operands, (expected,), (padding_check("dx", 2, spec.dx),))


def _gradients(
    spec: specs.LiveEntries | specs.Conv2dBackwardInputSparse, draw: Draw
) -> Iterator[tuple[str, Array, Array | None]]:
    """(title, dy, codes or None) with few, all and no entries live."""
    image, pool = spec.dy, spec.pool
    for title, share in _SHARES:
        dy = draw(image.n, image.c, image.h, image.w)
        dy[dy == 0] = 1.0
        dy *= draw.rng.uniform(size=dy.shape) < share
        yield title, dy, draw.codes(pool.ph * pool.pw, *dy.shape) if pool else None


def _windows(spec: specs.LiveEntries | specs.Conv2dBackwardInputSparse, dy: Array, codes: Array | None) -> Array:
    """[n, c, h, w, position]: dy where the code names the position, else 0."""
    if codes is None:
        return dy[..., None]
    named = np.asarray(codes[..., None] == np.arange(spec.live.n_positions))
    return np.asarray(dy[..., None] * named)
