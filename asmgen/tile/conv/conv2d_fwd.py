"""The tile of the forward convolution: pixels of whole pooling windows x vectors of output channels."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dForward
from asmgen.tile.conv import conv2d_fwd_pixel_lanes
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
from asmgen.tile.conv.conv2d_fwd_pixel_lanes import PixelTile
from asmgen.tile.cost import Candidate, ranked
from asmgen.tile.input.pixel_strip import band_rows


@dataclass(frozen=True)
class Group:
    """`count` times `vectors` output-channel blocks that are summed together, and the tiles of a row for them."""

    vectors: int
    count: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ForwardTile:
    """Groups of output channels with their tiles; whether the row taps and how many channels are unrolled.

    band_rows: rows of y that are computed from one strip of pixels; 0 where x is stored. prefetches: whether a tile
    asks for the rows of x that the tile below is the first to read.
    """

    groups: tuple[Group, ...]
    unroll_rows: bool
    channels: int
    band_rows: int
    prefetches: bool

    def __str__(self) -> str:
        runs = ((group.count, run) for group in self.groups for run in group.runs)
        strips = f"; {self.band_rows} rows of y from a strip of pixels" if self.band_rows else ""
        return describe(runs, self.unroll_rows, self.channels, self.prefetches) + strips


def choose_tile(spec: Conv2dForward, isa: Isa) -> ForwardTile | PixelTile:
    """The tiles with the fewest predicted cycles. Raises ValueError when a pooling window exceeds the registers."""
    found = candidates(spec, isa)
    if not found:
        rows, unit = _window(spec)
        raise ValueError(f"a pooling window of {rows} x {unit} does not fit the {isa.n_vregs} registers of {isa.name}")
    return found[0].tile


def candidates(spec: Conv2dForward, isa: Isa) -> tuple[Candidate[ForwardTile | PixelTile], ...]:
    """Every split of the output channels with the best tilings of a row, and tiles whose lanes are pixels, ranked."""
    conv = spec.conv
    weights, (rows, unit) = conv.weights, _window(spec)
    epilogue = 3 if spec.pool and spec.pool.kind == "avg" else 2
    strip = Strip(rows, unit, conv.sw, tuple(range(weights.kw)), weights.c * weights.kh, epilogue)
    n_strips = conv.x.n * (conv.oh // rows)
    found: list[Candidate[ForwardTile | PixelTile]] = []
    found += (Candidate(each.tile, each.cycles) for each in conv2d_fwd_pixel_lanes.candidates(spec, isa))
    for split in splits(weights.n_oc_blocks, MAX_VECTORS):
        for chosen in ranks([best_runs(isa, strip, conv.ow, vectors) for vectors, _ in split]):
            groups = tuple(Group(*part, runs.tile) for part, runs in zip(split, chosen, strict=True))
            cycles = sum(runs.cycles * count for (_, count), runs in zip(split, chosen, strict=True))
            found.append(Candidate(_unrolled(spec, isa, groups), n_strips * cycles))
    return ranked(found)


def _window(spec: Conv2dForward) -> tuple[int, int]:
    """Rows and columns of z that stay together."""
    return (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)


def _unrolled(spec: Conv2dForward, isa: Isa, groups: tuple[Group, ...]) -> ForwardTile:
    """As much written out as the code may grow."""
    tiles: list[RegisterTile] = [run.tile for group in groups for run in group.runs]
    n_taps = spec.conv.weights.kh * spec.conv.weights.kw
    unroll_rows = fits_unrolled(isa, tiles, n_taps)
    channels = channel_unroll(isa, tiles, n_taps, trips_divisor(spec.conv.x)) if unroll_rows else 1
    conv = spec.conv
    if conv.pixels:
        return ForwardTile(groups, unroll_rows, channels, band_rows(conv, spec.y.h, spec.pool), False)
    return ForwardTile(groups, unroll_rows, channels, 0, prefetches_rows(conv.x, channels))
