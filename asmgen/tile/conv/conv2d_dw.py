"""Tile of the convolution's weight gradient: which sums live in registers, and how much of dz is summed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from asmgen.asm.isa import Isa
from asmgen.plan.layout import Image
from asmgen.plan.specs import Conv2dBackwardWeights
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import MACHINES, Candidate, arithmetic_cycles, ranked

PART_BYTES = 48 * 1024  # of dz and x: near enough for the next tile, and loading and storing the sums hardly counts
CODE_BYTES = 14 * 1024
MAX_UNROLL = 8  # output columns

_LOAD_SHARE = 0.16  # of a multiply-add, for every load: x and dz come from beyond L1


@dataclass(frozen=True)
class Tile:
    """channels x kernel_rows x kernel_cols taps by oc_vectors accumulators; `columns` output columns are unrolled.

    A pass over one part of dz (`samples` whole samples, or `band_rows` output rows of one) adds to one tile; the tiles
    then take turns on the same part while it is in cache. dz_in_registers: the dz vectors that neighbouring taps share
    are kept in `window` x oc_vectors registers; else every multiplication reads them from memory.
    """

    oc_vectors: int
    channels: int
    kernel_rows: int
    kernel_cols: int
    columns: int
    samples: int
    band_rows: int
    window: int
    dz_in_registers: bool

    def __str__(self) -> str:
        taps = f"{counted(self.channels, 'channel')} x {self.kernel_rows}x{self.kernel_cols} taps"
        sums = self.channels * self.kernel_rows * self.kernel_cols * self.oc_vectors
        part = f"{self.samples} samples" if self.samples > 1 else f"bands of {counted(self.band_rows, 'row')}"
        vectors, columns = counted(self.oc_vectors, "oc vector"), counted(self.columns, "column")
        return f"{taps} x {vectors} = {sums} accumulators; {columns} unrolled; {part}"

    @property
    def accumulators(self) -> int:
        return self.channels * self.kernel_rows * self.kernel_cols * self.oc_vectors


def choose_tile(spec: Conv2dBackwardWeights, isa: Isa) -> Tile:
    """The tile with the fewest predicted cycles within the registers and the code budget."""
    return candidates(spec, isa)[0].tile


def candidates(spec: Conv2dBackwardWeights, isa: Isa) -> tuple[Candidate[Tile], ...]:
    """Every tile that fits, ranked, with the part of dz that suits it."""
    n_rows = spec.conv.x.n * spec.conv.oh
    return ranked(
        Candidate(_with_part(spec, tile), n_rows * _cycles(spec, isa, tile)) for tile in _register_tiles(spec, isa)
    )


def _register_tiles(spec: Conv2dBackwardWeights, isa: Isa) -> Iterator[Tile]:
    """Every tile that registers and code budget allow; the part of dz is chosen afterwards."""
    conv, weights = spec.conv, spec.conv.weights
    in_registers = isa.has_fma
    spare = isa.n_vregs - (1 if in_registers else 2)  # one broadcast, and the scratch product without FMA
    for oc_vectors in range(1, min(2, weights.n_oc_blocks) + 1):
        for kernel_cols in range(1, weights.kw + 1):
            window = -(-kernel_cols // conv.sw)
            budget = spare - (window * oc_vectors if in_registers else 0)
            for kernel_rows in range(1, weights.kh + 1):
                for channels in _channel_counts(conv.x):
                    if channels * kernel_rows * kernel_cols * oc_vectors > budget:
                        break
                    for columns in range(1, min(MAX_UNROLL, conv.ow) + 1):
                        tile = Tile(oc_vectors, channels, kernel_rows, kernel_cols, columns, 1, 1, window, in_registers)
                        if columns == 1 or _code_bytes(spec, isa, tile) <= CODE_BYTES:
                            yield tile


def _channel_counts(x: Image) -> list[int]:
    """Counts of channels whose addresses advance evenly: inside one channel block, or whole blocks together."""
    return [size for size in range(1, min(x.c, 16) + 1) if x.c <= x.block or x.block % size == 0 or size % x.block == 0]


def _bodies(spec: Conv2dBackwardWeights, tile: Tile) -> Iterator[tuple[int, tuple[int, int, int, int, int]]]:
    """(times per output row, (oc vectors, channels, kernel rows, kernel columns, columns)) of every unrolled body."""
    conv, weights = spec.conv, spec.conv.weights
    for n_oc, oc in parts(weights.n_oc_blocks, tile.oc_vectors):
        for n_c, c in parts(weights.c, tile.channels):
            for n_i, i in parts(weights.kh, tile.kernel_rows):
                for n_j, j in parts(weights.kw, tile.kernel_cols):
                    for n_u, u in parts(conv.ow, tile.columns):
                        yield n_oc * n_c * n_i * n_j * n_u, (oc, c, i, j, u)


def _n_broadcasts(sw: int, extents: tuple[int, int, int, int, int]) -> int:
    _, c, i, j, u = extents
    return c * i * len({column * sw + tap for column in range(u) for tap in range(j)})


def _cycles(spec: Conv2dBackwardWeights, isa: Isa, tile: Tile) -> float:
    """Estimated cycles per output row: multiply-add, load and latency bounds of each body.

    A part of dz is read from beyond L1 once, by the first tile that sums over it: a tile must have enough work per
    vector of dz not to wait.
    """
    machine = MACHINES[isa.name]
    vector_cycles = isa.vector_bytes / machine.l3_bytes
    total = 0.0
    first_pass: dict[int, float] = {}  # cycles per column, by oc vectors
    for times, extents in _bodies(spec, tile):
        oc, c, i, j, u = extents
        fmas = oc * c * i * j * u
        broadcasts = _n_broadcasts(spec.conv.sw, extents)
        loads = broadcasts + (u * oc if tile.dz_in_registers else fmas)
        shuffles = broadcasts if spec.dz.element_bytes == 4 else 0
        arithmetic = arithmetic_cycles(isa, fmas, loads, shuffles, free=0.0, share=_LOAD_SHARE)
        cycles = max(arithmetic, loads / machine.loads, machine.latency * u) + 2
        total += times * cycles
        first_pass.setdefault(oc, cycles / u)
    passes = {oc: n for n, oc in parts(spec.conv.weights.n_oc_blocks, tile.oc_vectors)}
    return total + sum(n * spec.conv.ow * max(0.0, oc * vector_cycles - first_pass[oc]) for oc, n in passes.items())


def _code_bytes(spec: Conv2dBackwardWeights, isa: Isa, tile: Tile) -> int:
    """Estimated size of all bodies, with a second set for an odd oc vector."""
    per_fma, per_load = (6, 8) if isa.has_mask else (5, 8) if isa.has_fma else (14, 12)
    total = 0
    for _, extents in _bodies(spec, tile):
        oc, c, i, j, u = extents
        total += per_fma * oc * c * i * j * u + per_load * (_n_broadcasts(spec.conv.sw, extents) + u * oc)
        total += 2 * per_load * oc * c * i * j  # accumulators loaded and stored
    odd = tile.oc_vectors == 2 and spec.conv.weights.n_oc_blocks % 2 == 0
    return total + (total * 2 // 3 if odd else 0)


def _with_part(spec: Conv2dBackwardWeights, tile: Tile) -> Tile:
    """Set how many samples or rows a pass covers: as many as leave the parts of dz and x in L2 together.

    A strip of pixels holds all channels of the part.
    """
    conv, dz = spec.conv, spec.dz
    x_planes = -(-tile.channels // conv.x.block)

    def part_bytes(rows: int) -> int:
        x_rows = (rows - 1) * conv.sh + conv.weights.kh
        x_bytes = conv.strip(rows).sample_bytes if conv.pixels else x_planes * x_rows * conv.x.row_bytes
        return tile.oc_vectors * rows * dz.row_bytes + x_bytes

    if part_bytes(conv.oh) <= PART_BYTES:
        samples = min(dz.n, PART_BYTES // part_bytes(conv.oh))
        samples = -(-dz.n // -(-dz.n // samples))
        return replace(tile, samples=samples, band_rows=conv.oh)
    rows = max([rows for rows in range(1, conv.oh) if part_bytes(rows) <= PART_BYTES], default=1)
    return replace(tile, band_rows=-(-conv.oh // -(-conv.oh // rows)))
