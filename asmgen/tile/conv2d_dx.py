"""The tile of the convolution's input gradient: pixels of one row and one column phase x vectors of input channels.

With a stride, an input pixel meets only the taps that divide: those of its phase, (column + pad) modulo the stride.
The pixels of one column phase lie a stride apart in dx and side by side in dz, so each phase is a plain correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv, Conv2dBackwardInput
from asmgen.tile.conv2d import (
    MAX_VECTORS,
    RegisterTile,
    Run,
    Strip,
    best_runs,
    channel_unroll,
    describe,
    fits_unrolled,
    splits,
    trips_divisor,
)

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
    """Groups of input channels with their tiles; whether the row taps and how many channels of dz are unrolled."""

    groups: tuple[Group, ...]
    unroll_rows: bool
    channels: int

    def __str__(self) -> str:
        runs = ((group.count, run) for group in self.groups for _, phase_runs in group.phases for run in phase_runs)
        return describe(runs, self.unroll_rows, self.channels)


def column_phases(conv: Conv) -> tuple[Phase, ...]:
    """The phases of dx's columns: one for stride 1."""
    phases = []
    for first in range(min(conv.sw, conv.x.w)):
        base, j0 = divmod(first + conv.pl, conv.sw)
        taps = tuple((base - k, j) for k, j in enumerate(range(j0, conv.weights.kw, conv.sw)))
        phases.append(Phase(first, -(-(conv.x.w - first) // conv.sw), taps))
    return tuple(phases)


def choose_tile(spec: Conv2dBackwardInput, isa: Isa) -> BackwardInputTile:
    """The tiles with the fewest estimated cycles."""
    conv, weights, phases = spec.conv, spec.conv.weights, column_phases(spec.conv)
    depth = weights.oc * -(-weights.kh // conv.sh)
    best: tuple[float, tuple[Group, ...]] | None = None
    for split in splits(spec.dx.n_c_blocks, MAX_VECTORS):
        cycles, groups = 0.0, []
        for vectors, count in split:
            tiled = []
            for phase in phases:
                strip = Strip(1, 1, 1, tuple(column for column, _ in phase.taps), depth, _EPILOGUE)
                runs = best_runs(isa, strip, phase.count, vectors)
                assert runs is not None, "a tile of one pixel always fits"
                tiled.append((phase, runs[0]))
                cycles += count * runs[1]
            groups.append(Group(vectors, count, tuple(tiled)))
        if best is None or cycles < best[0]:
            best = cycles, tuple(groups)
    assert best is not None
    tiles: list[RegisterTile] = [run.tile for group in best[1] for _, runs in group.phases for run in runs]
    # Where rows have phases too, the number of row taps changes from row to row and is a loop.
    n_taps = weights.kh * max(len(phase.taps) for phase in phases)
    unroll_rows = conv.sh == 1 and fits_unrolled(isa, tiles, n_taps)
    channels = channel_unroll(isa, tiles, n_taps, trips_divisor(spec.dz)) if unroll_rows else 1
    return BackwardInputTile(best[1], unroll_rows, channels)
