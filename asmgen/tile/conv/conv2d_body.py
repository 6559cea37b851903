"""Register tiles of the direct convolutions: which pixels and vectors of channels are summed together in registers.

The forward kernel and the input gradient are both correlations: a tile of rows x cols pixels x vectors of channels
stays in registers while the reduction runs over channels and taps. Each source element is broadcast once and meets
every tap and vector of the tile that wants it; each weight vector meets every pixel. Small models of the machine
below pick the tile with the fewest cycles, remainders included. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nsmallest
from math import gcd
from typing import TypeVar

from asmgen.asm.isa import Isa
from asmgen.plan.layout import Image
from asmgen.tile.common.count_text import counted
from asmgen.tile.cost import L2_BYTES, MACHINES, Candidate, arithmetic_cycles, ranked

T = TypeVar("T")

MAX_VECTORS = 8  # vectors of channels in a tile; more would only serve images one pixel wide
CODE_BYTES = 12 * 1024  # unrolled taps of a kernel; loops, prologues and epilogues come on top
ITERATION_MACS = 96  # multiply-adds that hide the overhead of one iteration of the channel loop

_TILE_CYCLES = 24  # loop control, pointers and the drained pipeline around a tile
_L1_WEIGHT_BYTES = 32 * 1024  # weights that still lie in L1 when the next tile wants them; others stream from L2
# A multiply-add may have so many loads for nothing; a further one takes this share of its cycle. At half a load, 6 %.
_FREE_LOADS, _LOAD_SHARE = 0.25, 0.25
_N_RUNS = 8  # ways to cut a row that are worth comparing


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
        weights = counted(self.n_weights, "weight register") if self.weights_in_registers else "weights from memory"
        vectors = counted(self.vectors, "vector")
        return f"{self.rows} x {self.cols} pixels x {vectors} = {self.n_accumulators} sums, {weights}"


@dataclass(frozen=True)
class Run:
    """`count` tiles of the same size, one after the other along a row."""

    tile: RegisterTile
    count: int


def describe(runs: Iterable[tuple[int, Run]], unroll_rows: bool, channels: int, prefetches: bool) -> str:
    """The tiles of a row for a header; runs: (how often, run)."""
    tiles = "; ".join(f"{times * run.count} of {run.tile}" for times, run in runs)
    ahead = "; the row below is prefetched" if prefetches else ""
    return (
        f"a row: {tiles}; unrolled: {'all' if unroll_rows else 'column'} taps x {counted(channels, 'channel')}{ahead}"
    )


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
def best_runs(isa: Isa, strip: Strip, n_cols: int, vectors: int) -> tuple[Candidate[tuple[Run, ...]], ...]:
    """The fastest ways to tile one row of `n_cols` pixels x `vectors`, ranked; none when nothing fits."""
    return tuple(nsmallest(_N_RUNS, _row_tilings(isa, strip, n_cols, vectors), key=lambda found: found.cycles))


def _row_tilings(isa: Isa, strip: Strip, n_cols: int, vectors: int) -> Iterator[Candidate[tuple[Run, ...]]]:
    """Every split of the row; the tiles of the larger part vary, the smaller part gets its best."""
    for (cols, count), *rest in splits(n_cols, isa.n_vregs, strip.unit):
        others = [(tiles[0], n) for size, n in rest if (tiles := _tiles(isa, strip, size, vectors))]
        if len(others) < len(rest):
            continue
        for tile in _tiles(isa, strip, cols, vectors):
            parts = [(tile, count), *others]
            runs = tuple(Run(part.tile, n) for part, n in parts)
            yield Candidate(runs, sum(part.cycles * n for part, n in parts))


@cache
def _tiles(isa: Isa, strip: Strip, cols: int, vectors: int) -> tuple[Candidate[RegisterTile], ...]:
    """The tiles of this size that the registers hold, ranked."""
    n_taps = max(1, len(strip.offsets))
    tiles = [RegisterTile(strip.rows, cols, vectors, n_taps, False)]
    if isa.has_fma:
        in_registers = [RegisterTile(strip.rows, cols, vectors, chunk, True) for chunk in range(n_taps, 0, -1)]
        tiles = in_registers + tiles
    return ranked(Candidate(tile, _cycles(isa, strip, tile)) for tile in tiles if _fits(isa, strip, tile))


def ranks(choices: Sequence[Sequence[T]]) -> Iterator[tuple[T, ...]]:
    """The best of every choice, then the second of every choice (the last of those that have fewer), and so on."""
    if all(choices):
        for rank in range(max(map(len, choices))):
            yield tuple(choice[min(rank, len(choice) - 1)] for choice in choices)


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
    machine = MACHINES[isa.name]
    loads = weight_loads + broadcasts
    arithmetic = arithmetic_cycles(isa, macs, loads, broadcasts, _FREE_LOADS, _LOAD_SHARE)
    if isa.has_fma:
        instructions = macs + broadcasts + (weight_loads if tile.weights_in_registers else 0)
    else:
        instructions = 3 * macs + 2 * broadcasts
    row = max(arithmetic, loads / machine.loads, instructions / machine.issue, n_taps * machine.latency)
    weight_bytes = strip.depth * n_taps * tile.vectors * isa.vector_bytes
    stream = weight_bytes / machine.stream_bytes if weight_bytes > _L1_WEIGHT_BYTES else 0.0
    return max(strip.depth * row, stream) + _TILE_CYCLES + 2 * tile.n_accumulators


def fits_unrolled(isa: Isa, tiles: list[RegisterTile], n_taps: int) -> bool:
    """Whether the taps of all these tile bodies may be written out."""
    bytes_per_mac = 8 if isa.has_vex else 16
    return sum(tile.n_accumulators for tile in tiles) * n_taps * bytes_per_mac <= CODE_BYTES


def trips_divisor(source: Image) -> int:
    """What a number of channels per iteration must divide: every channel block's count, the last one's too."""
    return gcd(source.block, source.c_tail)


def prefetches_rows(source: Image, channels: int) -> bool:
    """Whether a tile fetches the source rows of the tile below: they come from beyond L2, and a block of channels, at
    whose beginning it does so, takes several iterations."""
    return source.size_bytes > L2_BYTES and source.block > channels


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
