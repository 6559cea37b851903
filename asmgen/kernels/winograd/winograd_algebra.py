"""The algebra of Winograd's convolution as text: matrices for headers, sums for notes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from asmgen.plan.winograd import TAPS, Transform


def combination(coefficients: Sequence[int], terms: Sequence[str]) -> str:
    """`g0 - 2 g1 + 4 g2`: the sum of coefficient times term, without those that are zero."""
    text = ""
    for coefficient, term in zip(coefficients, terms, strict=True):
        if coefficient:
            sign = " - " if coefficient < 0 else " + "
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)} "
            text += f"{sign}{factor}{term}"
    return text.removeprefix(" + ")


def algebra(transform: Transform) -> tuple[str, ...]:
    """What F(m x m, 3 x 3) computes for a tile, and its three matrices side by side."""
    m, side = transform.m, transform.side
    g = [
        row + (f" / {over}" if over != 1 else "")
        for row, over in zip(_rows(transform.g), transform.divisors, strict=True)
    ]
    blocks = [_block("B^T", _rows(transform.bt)), _block("G", g), _block("A^T", _rows(transform.at))]
    widths = [max(map(len, block)) for block in blocks]
    lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in zip_longest(*blocks, fillvalue=""))
    return (
        f"Winograd's F({m}x{m}, {TAPS}x{TAPS}), as in Lavin and Gray (2016), * being element by element:",
        f"    {m} x {m} outputs = A^T [sum over channels of (G g G^T) * (B^T d B)] A"
        f"    of {TAPS} x {TAPS} taps g and {side} x {side} inputs d",
        *(f"    {line}" for line in lines),
    )


def _rows(matrix: Sequence[Sequence[int]]) -> list[str]:
    widths = [max(len(str(value)) for value in column) for column in zip(*matrix, strict=True)]
    return [
        f"[{' '.join(str(value).rjust(width) for value, width in zip(row, widths, strict=True))}]" for row in matrix
    ]


def _block(name: str, rows: list[str]) -> list[str]:
    return [f"{f'{name} =' if i == 0 else '':<{len(name) + 2}} {row}" for i, row in enumerate(rows)]
