"""Tiles of the kernels on pooling windows: how many pooled pixels of a row are unrolled."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.layout import Image
from asmgen.plan.specs import Conv2dUnpool, PoolBackward, PoolForward
from asmgen.tile.common.count_text import counted
from asmgen.tile.cost import MACHINES, Candidate, ranked

_UNROLLED_ELEMENTS = 16  # window positions in one unrolled body; these kernels wait for memory, not for instructions
_INSTRUCTIONS = 4  # of a position, about
_LOOP_CYCLES = 1  # of an iteration


@dataclass(frozen=True)
class Tile:
    """`columns` pooled pixels of a row are handled together, all `positions` of their windows unrolled."""

    columns: int
    positions: int

    def __str__(self) -> str:
        return f"{counted(self.columns, 'pooled pixel')} x {counted(self.positions, 'window position')} unrolled"


def choose_unpool_tile(spec: Conv2dUnpool, isa: Isa) -> Tile:
    """As many pixels as the code may hold: they are independent and use the same registers one after the other."""
    return unpool_candidates(spec, isa)[0].tile


def unpool_candidates(spec: Conv2dUnpool, isa: Isa) -> tuple[Candidate[Tile], ...]:
    return _columns(isa, spec.pool.ph * spec.pool.pw if spec.pool else 1, spec.y, 4)


def choose_backward_tile(spec: PoolBackward, isa: Isa) -> Tile:
    """As the unpooling behind a convolution."""
    return backward_candidates(spec, isa)[0].tile


def backward_candidates(spec: PoolBackward, isa: Isa) -> tuple[Candidate[Tile], ...]:
    return _columns(isa, spec.pool.ph * spec.pool.pw, spec.dy, 4)


def choose_forward_tile(spec: PoolForward, isa: Isa) -> Tile:
    """Pixels go through the window in step: two registers each (value, code) beside six shared ones."""
    return forward_candidates(spec, isa)[0].tile


def forward_candidates(spec: PoolForward, isa: Isa) -> tuple[Candidate[Tile], ...]:
    return _columns(isa, spec.pool.ph * spec.pool.pw, spec.y, min(4, (isa.n_vregs - 6) // 2))


def _columns(isa: Isa, positions: int, pooled: Image, most: int) -> tuple[Candidate[Tile], ...]:
    """1, 2, ... pixels, ranked by the iterations they save."""
    most = max(1, min(most, pooled.w, _UNROLLED_ELEMENTS // positions))
    n_rows, issue = pooled.n * pooled.n_c_blocks * pooled.h, MACHINES[isa.name].issue
    return ranked(
        Candidate(
            Tile(columns, positions),
            n_rows * (pooled.w * positions * _INSTRUCTIONS / issue + -(-pooled.w // columns) * _LOOP_CYCLES),
        )
        for columns in range(most, 0, -1)
    )
