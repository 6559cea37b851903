"""Tiles of the forward convolution whose lanes are pixels of a row: for first layers with few output channels.

With output channels in lanes (asmgen/tile/conv/conv2d_fwd.py) six channels waste ten of sixteen lanes. Here a sum is
one channel of V neighbouring pixels: a vector of pixels is loaded at any alignment and meets the broadcast weights of
all channels of the tile. What it costs is turning the sums into pixels of V channels at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dForward
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.conv.conv2d_body import CODE_BYTES
from asmgen.tile.cost import MACHINES, Candidate, arithmetic_cycles, ranked
from asmgen.tile.input.pixel_strip import band_rows

PART_BYTES = 16  # of a vector, within which shuffles turn channels into pixels: channels of a tile fill such parts

_TILE_CYCLES = 24  # loop control, pointers and the drained pipeline around a tile
_STORES = 1.0  # a cycle


@dataclass(frozen=True)
class ChannelRun:
    """`count` tiles of `channels` output channels; pad_lanes: of their block, behind them, that they write as zeros."""

    count: int
    channels: int
    pad_lanes: int


@dataclass(frozen=True)
class PixelTile:
    """rows x vectors of pixels x channels; whether the row taps are unrolled. band_rows: rows of y from one strip."""

    rows: int
    vectors: int
    channels: int
    unroll_rows: bool
    band_rows: int

    @property
    def n_accumulators(self) -> int:
        return self.rows * self.vectors * self.channels

    def __str__(self) -> str:
        rows, channels = counted(self.rows, "row"), counted(self.channels, "channel")
        sums = f"{rows} x {counted(self.vectors, 'vector')} of pixels x {channels}"
        unrolled = f"unrolled: {'all' if self.unroll_rows else 'column'} taps"
        strips = f"{counted(self.band_rows, 'row')} of y from a strip of pixels"
        return f"lanes are pixels: {sums} = {counted(self.n_accumulators, 'sum')}; {unrolled}; {strips}"


def candidates(spec: Conv2dForward, isa: Isa) -> tuple[Candidate[PixelTile], ...]:
    """Every tile that the registers hold, ranked; none where x is stored, columns are skipped or windows wider than 2.

    A stored x may end behind its last row, where a vector of pixels would read on; the kernel's own strip does not.
    """
    conv, pool = spec.conv, spec.pool
    if conv.pixels is None or conv.sw > 1 or (pool and pool.pw > 2):
        return ()
    return ranked(Candidate(tile, _cycles(spec, isa, tile)) for tile in _tiles(spec, isa))


def n_vectors(spec: Conv2dForward, lanes: int) -> int:
    """Of pixels in a row of z."""
    return -(-spec.conv.ow // lanes)


def row_runs(spec: Conv2dForward, lanes: int, vectors: int) -> list[tuple[int, int, int]]:
    """(how many tiles, vectors, columns of z) along a row; the last tile may be shorter, and its last vector too."""
    runs = parts(spec.conv.ow, vectors * lanes)
    return [(count, -(-cols // lanes), cols) for count, cols in runs]


def channel_runs(n_channels: int, block: int, channels: int) -> list[ChannelRun]:
    """Tiles of a block of output channels of which `n_channels` exist; the last one also writes the pad lanes."""
    runs = [ChannelRun(count, size, 0) for count, size in parts(n_channels, channels)]
    if n_channels < block:
        last = runs.pop()
        if last.count > 1:
            runs.append(ChannelRun(last.count - 1, last.channels, 0))
        runs.append(ChannelRun(1, last.channels, block - n_channels))
    return runs


def block_runs(spec: Conv2dForward, channels: int) -> list[tuple[int, list[ChannelRun]]]:
    """(how many blocks of output channels, their tiles)."""
    weights = spec.conv.weights
    return [(n, channel_runs(extent, weights.block, channels)) for n, extent in parts(weights.oc, weights.block)]


def _tiles(spec: Conv2dForward, isa: Isa) -> Iterator[PixelTile]:
    weights, pool = spec.conv.weights, spec.pool
    rows, lanes = pool.ph if pool else 1, weights.block
    cols = n_vectors(spec, lanes) * lanes
    band = band_rows(spec.conv, spec.y.h, pool, cols=cols)
    part = PART_BYTES // spec.y.element_bytes
    sizes = [size for size in range(part, min(weights.oc, lanes) + 1, part) if weights.oc < lanes or lanes % size == 0]
    if weights.oc < lanes and weights.oc % part:
        sizes.append(weights.oc)
    for channels in sizes:
        for vectors in range(1, cols // lanes + 1):
            tile = PixelTile(rows, vectors, channels, True, band)
            if tile.n_accumulators + _beside(spec, isa, tile) > isa.n_vregs:
                break
            unroll_rows = _fits_unrolled(spec, isa, tile)
            yield PixelTile(rows, vectors, channels, unroll_rows, band)


def _beside(spec: Conv2dForward, isa: Isa, tile: PixelTile) -> int:
    """Registers beside the sums: pixels and a weight, or what one channel's pool and activation need."""
    pool = spec.pool
    epilogue = 1 + (pool.pw - 1 + (pool.kind == "avg") if pool else 0)
    if spec.codes:
        epilogue += 1 if isa.has_mask else 2
    return (0 if isa.has_fma else 1) + max(tile.rows * tile.vectors + 1, epilogue)


def _bodies(spec: Conv2dForward, tile: PixelTile) -> Iterator[tuple[int, int, int, ChannelRun]]:
    """(tiles in a row of y, vectors, columns, channels) of everything that is written out."""
    for n_blocks, runs in block_runs(spec, tile.channels):
        for run in runs:
            for count, vectors, cols in row_runs(spec, spec.conv.weights.block, tile.vectors):
                yield n_blocks * run.count * count, vectors, cols, run


def _fits_unrolled(spec: Conv2dForward, isa: Isa, tile: PixelTile) -> bool:
    """Whether all taps of all bodies may be written out."""
    weights = spec.conv.weights
    sums = sum(tile.rows * vectors * run.channels for _, vectors, _, run in _bodies(spec, tile))
    return sums * weights.kh * weights.kw * (8 if isa.has_vex else 16) <= CODE_BYTES


def _cycles(spec: Conv2dForward, isa: Isa, tile: PixelTile) -> float:
    rows = spec.conv.x.n * spec.y.h
    return rows * sum(
        times
        * (_sum_cycles(spec, isa, tile.rows * vectors, run.channels) + _store_cycles(spec, isa, vectors, cols, run))
        for times, vectors, cols, run in _bodies(spec, tile)
    )


def _sum_cycles(spec: Conv2dForward, isa: Isa, n_vectors: int, channels: int) -> float:
    """Of the products of a tile: a vector of pixels crosses a line every V elements, and counts as two loads there."""
    machine, weights = MACHINES[isa.name], spec.conv.weights
    macs = n_vectors * channels
    loads = n_vectors * (1 + isa.vector_bytes / 64) + channels
    arithmetic = arithmetic_cycles(isa, macs, loads, channels)
    instructions = (macs if isa.has_fma else 3 * macs + channels) + n_vectors + channels
    tap = max(arithmetic, loads / machine.loads, instructions / machine.issue, machine.latency)
    return weights.c * weights.kh * weights.kw * tap + _TILE_CYCLES


def _store_cycles(spec: Conv2dForward, isa: Isa, vectors: int, cols: int, run: ChannelRun) -> float:
    """Of the rest of a tile: pools, activations, channels turned into pixels, stores."""
    ph, pw = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
    part = PART_BYTES // spec.y.element_bytes
    pooled = -(-vectors // pw)
    operations = pooled * run.channels * (ph * pw * (pw + 2 * spec.codes) + 3 + 2 * spec.codes)
    n_parts = -(-run.channels // part)
    stores = cols // pw * (n_parts + (run.pad_lanes >= part) + spec.codes)
    machine = MACHINES[isa.name]
    return operations / (machine.multiply_adds if isa.has_fma else machine.vector_ports) + stores / _STORES
