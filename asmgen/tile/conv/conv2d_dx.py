"""The tile of the convolution's input gradient: pixels of one row and one column phase x vectors of input channels.

With a stride, an input pixel meets only the taps that divide: those of its phase, (column + pad) modulo the stride.
The pixels of one column phase lie a stride apart in dx and side by side in dz, so each phase is a plain correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv, Conv2dBackwardInput
from asmgen.tile.conv.conv2d_body import (
    MAX_VECTORS,
    RegisterTile,
    Run,
    Strip,
    best_runs,
    channel_unroll,
    describe,
    fits_unrolled,
    prefetches_rows,
    ranks,
    splits,
    trips_divisor,
)
from asmgen.tile.cost import Candidate, ranked

_EPILOGUE = 0  # the sums are stored as they are


@dataclass(frozen=True)
class Phase:
    """Columns first, first + sw, ... of dx (`count` of them), and their taps as (column of dz, column of w).

    dx's q-th column of the phase meets dz's column q + the tap's. No taps: this phase of dx is zero.
    """

    first: int
    count: int
    taps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Group:
    """`count` times `vectors` input-channel blocks that are summed together, and the tiles of each column phase."""

    vectors: int
    count: int
    phases: tuple[tuple[Phase, tuple[Run, ...]], ...]


@dataclass(frozen=True)
class BackwardInputTile:
    """Groups of input channels with their tiles; whether the row taps and how many channels of dz are unrolled.

    prefetches: whether a tile asks for the row of dz that the tile below is the first to read.
    """

    groups: tuple[Group, ...]
    unroll_rows: bool
    channels: int
    prefetches: bool

    def __str__(self) -> str:
        runs = ((group.count, run) for group in self.groups for _, phase_runs in group.phases for run in phase_runs)
        return describe(runs, self.unroll_rows, self.channels, self.prefetches)


def column_phases(conv: Conv) -> tuple[Phase, ...]:
    """The phases of dx's columns: one for stride 1."""
    phases = []
    for first in range(min(conv.sw, conv.x.w)):
        base, j0 = divmod(first + conv.pl, conv.sw)
        taps = tuple((base - k, j) for k, j in enumerate(range(j0, conv.weights.kw, conv.sw)))
        phases.append(Phase(first, -(-(conv.x.w - first) // conv.sw), taps))
    return tuple(phases)


def choose_tile(spec: Conv2dBackwardInput, isa: Isa) -> BackwardInputTile:
    """The tiles with the fewest predicted cycles."""
    return candidates(spec, isa)[0].tile


def candidates(spec: Conv2dBackwardInput, isa: Isa) -> tuple[Candidate[BackwardInputTile], ...]:
    """Every split of the input channels with the best tilings of a row, ranked."""
    conv, phases = spec.conv, column_phases(spec.conv)
    depth = conv.weights.oc * -(-conv.weights.kh // conv.sh)
    strips = [Strip(1, 1, 1, tuple(column for column, _ in phase.taps), depth, _EPILOGUE) for phase in phases]
    found = []
    for split in splits(spec.dx.n_c_blocks, MAX_VECTORS):
        parts = [
            (vectors, count, phase, strip)
            for vectors, count in split
            for phase, strip in zip(phases, strips, strict=True)
        ]
        rows = [best_runs(isa, strip, phase.count, vectors) for vectors, _, phase, strip in parts]
        for chosen in ranks(rows):
            cycles = sum(part[1] * runs.cycles for part, runs in zip(parts, chosen, strict=True))
            tiled = iter(chosen)
            groups = tuple(Group(*part, tuple((phase, next(tiled).tile) for phase in phases)) for part in split)
            found.append(Candidate(_unrolled(spec, isa, groups), spec.dx.n * spec.dx.h * cycles))
    return ranked(found)


def _unrolled(spec: Conv2dBackwardInput, isa: Isa, groups: tuple[Group, ...]) -> BackwardInputTile:
    """As much written out as the code may grow. Where rows have phases, too, their row taps differ and are a loop."""
    conv = spec.conv
    tiles: list[RegisterTile] = [run.tile for group in groups for _, runs in group.phases for run in runs]
    n_taps = conv.weights.kh * max(len(phase.taps) for phase, _ in groups[0].phases)
    unroll_rows = conv.sh == 1 and fits_unrolled(isa, tiles, n_taps)
    channels = channel_unroll(isa, tiles, n_taps, trips_divisor(spec.dz)) if unroll_rows else 1
    return BackwardInputTile(groups, unroll_rows, channels, prefetches_rows(spec.dz, channels))
