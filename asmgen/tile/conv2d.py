"""Register tiles of the direct convolutions: which pixels and vectors of channels are summed together in registers.

The forward kernel and the input gradient are both correlations: a tile of rows x cols pixels x vectors of channels
stays in registers while the reduction runs over channels and taps. Each source element is broadcast once and meets
every tap and vector of the tile that wants it; each weight vector meets every pixel. Small models of the machine
below pick the tile with the fewest cycles, remainders included. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import gcd

from asmgen.asm.isa import Isa
from asmgen.plan.layout import Image

MAX_VECTORS = 8  # vectors of channels in a tile; more would only serve images one pixel wide
CODE_BYTES = 12 * 1024  # unrolled taps of a kernel; loops, prologues and epilogues come on top
ITERATION_MACS = 96  # multiply-adds that hide the overhead of one iteration of the channel loop

_LATENCY = 4  # cycles from an accumulator to its next use
_ISSUE = 6  # instructions a cycle
_TILE_CYCLES = 24  # loop control, pointers and the drained pipeline around a tile
_L1_WEIGHT_BYTES = 32 * 1024  # weights that still lie in L1 when the next tile wants them
_L2_BYTES_PER_CYCLE = 40  # of the others, beside the arithmetic


@dataclass(frozen=True)
class RegisterTile:
    """rows x cols pixels x vectors of channels, the weights of `chunk` column taps at a time.

    weights_in_registers: else they are memory operands (two-operand code copies one factor anyway).
    """

    rows: int
    cols: int
    vectors: int
    chunk: int
    weights_in_registers: bool

    @property
    def n_accumulators(self) -> int:
        return self.rows * self.cols * self.vectors

    @property
    def n_weights(self) -> int:
        return self.chunk * self.vectors if self.weights_in_registers else 0

    def __str__(self) -> str:
        weights = f"{self.n_weights} weight registers" if self.weights_in_registers else "weights from memory"
        return f"{self.rows} x {self.cols} pixels x {self.vectors} vectors = {self.n_accumulators} sums, {weights}"


@dataclass(frozen=True)
class Run:
    """`count` tiles of the same size, one after the other along a row."""

    tile: RegisterTile
    count: int


def describe(runs: Iterable[tuple[int, Run]], unroll_rows: bool, channels: int) -> str:
    """The tiles of a row for a header; runs: (how often, run)."""
    tiles = "; ".join(f"{times * run.count} of {run.tile}" for times, run in runs)
    return f"a row: {tiles}; unrolled: {'all' if unroll_rows else 'column'} taps x {channels} channels"


@dataclass(frozen=True)
class Strip:
    """What one sweep along a row computes.

    rows: pixel rows of a tile. unit: columns that must stay together (a pool's window). step: source columns from a
    pixel to the next. offsets: source column of each tap. depth: channels x row taps. epilogue: vector registers the
    epilogue needs beside the accumulators.
    """

    rows: int
    unit: int
    step: int
    offsets: tuple[int, ...]
    depth: int
    epilogue: int


def splits(total: int, largest: int, unit: int = 1) -> Iterator[tuple[tuple[int, int], ...]]:
    """Ways to write `total` as n * a + m * b with a > b and the fewest b: ((a, n), (b, m)), or ((a, n),)."""
    for a in range(unit, min(total, largest) + 1, unit):
        if total % a == 0:
            yield ((a, total // a),)
            continue
        for b in range(unit, a, unit):
            m = next((m for m in range(1, total // b + 1) if (total - m * b) % a == 0), 0)
            if m and total > m * b:
                yield ((a, (total - m * b) // a), (b, m))


@cache
def best_runs(isa: Isa, strip: Strip, n_cols: int, vectors: int) -> tuple[tuple[Run, ...], float] | None:
    """The fastest tiles of one row of `n_cols` pixels x `vectors`, and their cycles; None when nothing fits."""
    best = None
    for split in splits(n_cols, isa.n_vregs, strip.unit):
        tiles = [_best_tile(isa, strip, cols, vectors) for cols, _ in split]
        runs = tuple(Run(tile[0], count) for tile, (_, count) in zip(tiles, split, strict=True) if tile)
        if len(runs) < len(split):
            continue
        cycles = sum(tile[1] * count for tile, (_, count) in zip(tiles, split, strict=True) if tile)
        if best is None or cycles < best[1]:
            best = runs, cycles
    return best


@cache
def _best_tile(isa: Isa, strip: Strip, cols: int, vectors: int) -> tuple[RegisterTile, float] | None:
    """The fastest tile of this size that the registers hold, and its cycles."""
    n_taps = max(1, len(strip.offsets))
    candidates = [RegisterTile(strip.rows, cols, vectors, n_taps, False)]
    if isa.has_fma:
        in_registers = [RegisterTile(strip.rows, cols, vectors, chunk, True) for chunk in range(n_taps, 0, -1)]
        candidates = in_registers + candidates
    fitting = [(tile, _cycles(isa, strip, tile)) for tile in candidates if _fits(isa, strip, tile)]
    return min(fitting, key=lambda pair: pair[1], default=None)


def _fits(isa: Isa, strip: Strip, tile: RegisterTile) -> bool:
    scratch = 0 if isa.has_fma else 1
    return tile.n_accumulators + scratch + max(tile.n_weights + 1, strip.epilogue) <= isa.n_vregs


def _cycles(isa: Isa, strip: Strip, tile: RegisterTile) -> float:
    """Estimated cycles of one tile, from loads of bias to stores."""
    n_taps = len(strip.offsets)
    macs = tile.n_accumulators * n_taps
    weight_loads = n_taps * tile.vectors if tile.weights_in_registers else macs
    broadcasts = 0
    for first in range(0, n_taps, tile.chunk):
        chunk = strip.offsets[first : first + tile.chunk]
        broadcasts += tile.rows * len({q * strip.step + offset for q in range(tile.cols) for offset in chunk})
    latency = n_taps * _LATENCY
    if isa.has_fma:
        arithmetic = macs / 2 * (1 + (0.25 * max(0.0, (weight_loads + broadcasts) / max(macs, 1) - 0.25)))
        instructions = macs + broadcasts + (weight_loads if tile.weights_in_registers else 0)
    else:
        arithmetic = (2 * macs + broadcasts) / 3  # multiply, add and the broadcast's shuffle share three ports
        instructions = 3 * macs + 2 * broadcasts
    row = max(arithmetic, (weight_loads + broadcasts) / 2, instructions / _ISSUE, latency)
    weight_bytes = strip.depth * n_taps * tile.vectors * isa.vector_bytes
    stream = weight_bytes / _L2_BYTES_PER_CYCLE if weight_bytes > _L1_WEIGHT_BYTES else 0.0
    return max(strip.depth * row, stream) + _TILE_CYCLES + 2 * tile.n_accumulators


def fits_unrolled(isa: Isa, tiles: list[RegisterTile], n_taps: int) -> bool:
    """Whether the taps of all these tile bodies may be written out."""
    bytes_per_mac = 8 if isa.has_vex else 16
    return sum(tile.n_accumulators for tile in tiles) * n_taps * bytes_per_mac <= CODE_BYTES


def trips_divisor(source: Image) -> int:
    """What a number of channels per iteration must divide: every channel block's count, the last one's too."""
    return gcd(source.block, source.c_tail)


def channel_unroll(isa: Isa, tiles: list[RegisterTile], n_taps: int, trips: int) -> int:
    """Channels per iteration: a divisor of `trips`, more than one where a channel has little to do."""
    unroll = 1
    while (
        trips % (2 * unroll) == 0
        and max(tile.n_accumulators for tile in tiles) * n_taps * unroll < ITERATION_MACS
        and fits_unrolled(isa, tiles, 2 * unroll * n_taps)
    ):
        unroll *= 2
    return unroll
