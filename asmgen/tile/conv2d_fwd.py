"""The tile of the forward convolution: pixels of whole pooling windows x vectors of output channels."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dForward
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


@dataclass(frozen=True)
class Group:
    """`count` times `vectors` output-channel blocks that are summed together, and the tiles of a row for them."""

    vectors: int
    count: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ForwardTile:
    """Groups of output channels with their tiles; whether the row taps and how many channels are unrolled."""

    groups: tuple[Group, ...]
    unroll_rows: bool
    channels: int

    def __str__(self) -> str:
        runs = ((group.count, run) for group in self.groups for run in group.runs)
        return describe(runs, self.unroll_rows, self.channels)


def choose_tile(spec: Conv2dForward, isa: Isa) -> ForwardTile:
    """The tiles with the fewest estimated cycles. Raises ValueError when a pooling window exceeds the registers."""
    conv, pool = spec.conv, spec.pool
    weights = conv.weights
    rows, unit = (pool.ph, pool.pw) if pool else (1, 1)
    epilogue = 3 if pool and pool.kind == "avg" else 2
    strip = Strip(rows, unit, conv.sw, tuple(range(weights.kw)), weights.c * weights.kh, epilogue)
    best: tuple[float, tuple[Group, ...]] | None = None
    for split in splits(weights.n_oc_blocks, MAX_VECTORS):
        found = [best_runs(isa, strip, conv.ow, vectors) for vectors, _ in split]
        groups = tuple(
            Group(vectors, count, runs[0]) for (vectors, count), runs in zip(split, found, strict=True) if runs
        )
        if len(groups) < len(split):
            continue
        cycles = sum(runs[1] * count for (_, count), runs in zip(split, found, strict=True) if runs)
        if best is None or cycles < best[0]:
            best = cycles, groups
    if best is None:
        raise ValueError(f"a pooling window of {rows} x {unit} does not fit the {isa.n_vregs} registers of {isa.name}")
    tiles: list[RegisterTile] = [run.tile for group in best[1] for run in group.runs]
    unroll_rows = fits_unrolled(isa, tiles, weights.kh * weights.kw)
    n_taps, trips = weights.kh * weights.kw, trips_divisor(conv.x)
    channels = channel_unroll(isa, tiles, n_taps, trips) if unroll_rows else 1
    return ForwardTile(best[1], unroll_rows, channels)
