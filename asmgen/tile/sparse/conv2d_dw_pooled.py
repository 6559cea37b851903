"""Tile of the weight gradient behind a max pool for few input channels: which sums live in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import MACHINES, Candidate, ranked
from asmgen.tile.input.pixel_strip import band_rows
from asmgen.tile.sparse import conv2d_dw_tap_lanes
from asmgen.tile.sparse.conv2d_dw_tap_lanes import TapTile

BAND_BYTES = 16 * 1024  # of dy: near for the next tile, and loading and storing the sums hardly counts
STRIP_BYTES = 56 * 1024  # of pixels as numbers: bands of dy decide, since x from L2 is as fast
N_MASKS = 7
CODE_BYTES = 14 * 1024


@dataclass(frozen=True)
class Tile:
    """channels x kernel_rows x kernel_cols accumulators; passes over bands of pooled rows.

    positions: of the window, that are told apart at a time.
    """

    channels: int
    kernel_rows: int
    kernel_cols: int
    positions: int
    rows: int

    def __str__(self) -> str:
        taps = f"{counted(self.channels, 'channel')} x {self.kernel_rows}x{self.kernel_cols} taps"
        sums = self.channels * self.kernel_rows * self.kernel_cols
        positions, rows = counted(self.positions, "position"), counted(self.rows, "pooled row")
        return f"{taps} = {sums} accumulators; {positions} at a time; bands of {rows}"


def choose_tile(spec: Conv2dBackwardWeightsPooled, isa: Isa) -> Tile | TapTile:
    """The tile with the fewest predicted cycles within the registers and the code budget."""
    return candidates(spec, isa)[0].tile


def candidates(spec: Conv2dBackwardWeightsPooled, isa: Isa) -> tuple[Candidate[Tile | TapTile], ...]:
    """Every tile that fits, and those whose lanes are taps, ranked."""
    n_pixels = spec.dy.n * spec.dy.h * spec.dy.w * spec.conv.weights.n_oc_blocks
    found: list[Candidate[Tile | TapTile]] = [
        Candidate(tile, n_pixels * _cycles(spec, isa, tile)) for tile in _register_tiles(spec, isa)
    ]
    found += (Candidate(each.tile, each.cycles) for each in conv2d_dw_tap_lanes.candidates(spec, isa))
    return ranked(found)


def chunks(spec: Conv2dBackwardWeightsPooled, tile: Tile) -> list[list[tuple[int, int]]]:
    """The window's positions (r, s), those together that are told apart together."""
    window = [(r, s) for r in range(spec.pool.ph) for s in range(spec.pool.pw)]
    return [window[first : first + tile.positions] for first in range(0, len(window), tile.positions)]


def elements(
    spec: Conv2dBackwardWeightsPooled, chunk: list[tuple[int, int]], taps: tuple[int, int]
) -> dict[tuple[int, int], list[tuple[int, tuple[int, int]]]]:
    """(row, column) of x relative to the window -> (position in the chunk, (i, j)) of the taps that meet there."""
    meeting: dict[tuple[int, int], list[tuple[int, tuple[int, int]]]] = {}
    for index, (r, s) in enumerate(chunk):
        for i in range(taps[0]):
            for j in range(taps[1]):
                meeting.setdefault((r * spec.conv.sh + i, s * spec.conv.sw + j), []).append((index, (i, j)))
    return dict(sorted(meeting.items()))


def _register_tiles(spec: Conv2dBackwardWeightsPooled, isa: Isa) -> Iterator[Tile]:
    weights, dy = spec.conv.weights, spec.dy
    n_positions = spec.pool.ph * spec.pool.pw
    rows = max(1, min(dy.h, BAND_BYTES // (dy.w * dy.pixel_bytes)))
    if spec.conv.pixels:
        rows = min(rows, band_rows(spec.conv, dy.h, spec.pool, STRIP_BYTES))
    rows = -(-dy.h // -(-dy.h // rows))
    spare = isa.n_vregs - (2 if isa.has_fma else 3)  # dy and the codes, where x is broadcast later; a scratch product
    for positions in range(1, min(n_positions, N_MASKS if isa.has_mask else spare - 1) + 1):
        budget = spare - (0 if isa.has_mask else positions)
        for channels in range(1, weights.c + 1):
            for kernel_rows in range(1, weights.kh + 1):
                for kernel_cols in range(1, weights.kw + 1):
                    if channels * kernel_rows * kernel_cols > budget:
                        break
                    tile = Tile(channels, kernel_rows, kernel_cols, positions, rows)
                    if channels * kernel_rows * kernel_cols == 1 or _code_bytes(spec, isa, tile) <= CODE_BYTES:
                        yield tile


def _bodies(spec: Conv2dBackwardWeightsPooled, tile: Tile) -> Iterator[tuple[int, int, int, int]]:
    """(times per pooled pixel, channels, kernel rows, kernel columns) of every body."""
    weights = spec.conv.weights
    for n_c, c in parts(weights.c, tile.channels):
        for n_i, i in parts(weights.kh, tile.kernel_rows):
            for n_j, j in parts(weights.kw, tile.kernel_cols):
                yield n_c * n_i * n_j, c, i, j


def _cycles(spec: Conv2dBackwardWeightsPooled, isa: Isa, tile: Tile) -> float:
    """Predicted cycles per pooled pixel: multiply-adds, loads and what tells the positions apart."""
    machine, total = MACHINES[isa.name], 0.0
    for times, c, i, j in _bodies(spec, tile):
        for chunk in chunks(spec, tile):
            fmas = c * i * j * len(chunk)
            broadcasts = c * len(elements(spec, chunk, (i, j)))
            total += times * (
                max((fmas + 2 * len(chunk)) / machine.multiply_adds, machine.latency * len(chunk))
                + 0.1 * broadcasts
                + 2
            )
        total += times * 2
    return total


def _code_bytes(spec: Conv2dBackwardWeightsPooled, isa: Isa, tile: Tile) -> int:
    """Estimated size of all bodies."""
    per_fma, per_load = (6, 9) if isa.has_mask else (5, 8) if isa.has_fma else (11, 12)
    total = 0
    for _, c, i, j in _bodies(spec, tile):
        for chunk in chunks(spec, tile):
            total += c * (per_fma * i * j * len(chunk) + per_load * len(elements(spec, chunk, (i, j))))
            total += 2 * per_load * len(chunk)
        total += 2 * per_load * c * i * j
    return total
