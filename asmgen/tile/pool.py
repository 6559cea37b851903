"""Tiles of the kernels on pooling windows: how many pooled pixels of a row are unrolled."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dUnpool, PoolBackward, PoolForward

_UNROLLED_ELEMENTS = 16  # window positions in one unrolled body; these kernels wait for memory, not for instructions


@dataclass(frozen=True)
class Tile:
    """`columns` pooled pixels of a row are handled together, all `positions` of their windows unrolled."""

    columns: int
    positions: int

    def __str__(self) -> str:
        return f"{self.columns} pooled pixels x {self.positions} window positions unrolled"


def choose_unpool_tile(spec: Conv2dUnpool) -> Tile:
    """Pixels are independent and use the same registers one after the other: only code size counts."""
    return _fill(spec.pool.ph * spec.pool.pw if spec.pool else 1, spec.y.w, 4)


def choose_backward_tile(spec: PoolBackward) -> Tile:
    """As the unpooling behind a convolution."""
    return _fill(spec.pool.ph * spec.pool.pw, spec.dy.w, 4)


def choose_forward_tile(spec: PoolForward, isa: Isa) -> Tile:
    """Pixels go through the window in step: two registers each (value, code) beside six shared ones."""
    return _fill(spec.pool.ph * spec.pool.pw, spec.y.w, min(4, (isa.n_vregs - 6) // 2))


def _fill(positions: int, width: int, most: int) -> Tile:
    return Tile(max(1, min(most, width, _UNROLLED_ELEMENTS // positions)), positions)
