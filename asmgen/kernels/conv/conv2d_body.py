"""The reduction that forward convolution and input gradient share: a register tile summed over channels and taps.

    acc[r][q][g] += src[c, r*row_step + k*row_direction, q*step + offset_j] * w[g][c][row_k][j]      for all c, k, j

A source element is broadcast once and multiplied with every weight vector that meets it in this tile. The order of a
sum's terms follows from the tile alone: it is the same for every sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.plan.layout import LINE_BYTES, ConvWeights, Image
from asmgen.tile.common.count_text import advance
from asmgen.tile.conv.conv2d_body import RegisterTile

Accumulators = list[list[list[Any]]]  # [row][column][vector]


@dataclass(frozen=True)
class Taps:
    """Which source pixel meets which weight.

    n_rows: row taps k = 0..n_rows-1, or None where the kernel counts them at run time (in a stack slot).
    row_direction: source rows from a row tap to the next. weight_rows: weight rows from a row tap to the next.
    row_step, step: source rows and columns from an output pixel to the next. cols: (source column, weight column).
    """

    n_rows: int | None
    row_direction: int
    weight_rows: int
    row_step: int
    step: int
    cols: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Reduction:
    """One convolution's reduction: the layouts, and how far it is unrolled (`channels` per iteration).

    next_rows: source rows, counted from a tile's first one, that are prefetched for the next row of tiles.
    """

    source: Image
    weights: ConvWeights
    unroll_rows: bool
    channels: int
    next_rows: range


def alloc_accumulators(asm: Assembler, tile: RegisterTile) -> Accumulators:
    return [
        [[asm.vec.alloc(f"acc[{r}][{q}][{g}]") for g in range(tile.vectors)] for q in range(tile.cols)]
        for r in range(tile.rows)
    ]


def free_accumulators(asm: Assembler, acc: Accumulators) -> None:
    asm.vec.free(*(register for row in acc for pixel in row for register in pixel))


def accumulate(
    asm: Assembler,
    reduction: Reduction,
    taps: Taps,
    tile: RegisterTile,
    acc: Accumulators,
    src: Any,
    w: Any,
    row_count: Any = None,
) -> None:
    """Add the tile's products. src, w: registers at source pixel (0, 0) of the tile and at its first weights; kept.

    row_count: the stack slot with the number of row taps, where taps.n_rows is None.
    """
    source, weights = reduction.source, reduction.weights
    src_at, w_at = asm.gp.alloc("src at channel"), asm.gp.alloc("w at channel")
    x86.MOV(src_at, src)
    x86.MOV(w_at, w)
    body = _Body(asm, reduction, taps, tile, acc)
    with _channels(asm, reduction, src_at, tile.cols * taps.step):
        if reduction.unroll_rows:
            assert taps.n_rows is not None
            for u in range(reduction.channels):
                for k in range(taps.n_rows):
                    if taps.n_rows > 1:
                        asm.comment(f"row tap {k}" + (f", channel {u}" if reduction.channels > 1 else ""))
                    row = k * taps.row_direction * source.row_bytes + u * source.element_bytes
                    w_row = u * weights.channel_bytes + k * taps.weight_rows * weights.row_bytes
                    body.row(src_at + row, w_at + w_row, k)
        else:
            src_row, w_row, left = asm.gp.alloc("src at row tap"), asm.gp.alloc("w at row tap"), asm.gp.alloc("kh left")
            x86.MOV(src_row, src_at)
            x86.MOV(w_row, w_at)
            if taps.n_rows is None:
                x86.MOV(left, row_count)
            with asm.loop("kh", "row taps" if taps.n_rows is None else taps.n_rows, left):
                body.row(src_row, w_row, None)
                x86.ADD(src_row, taps.row_direction * source.row_bytes)
                asm.note(f"source: {advance(taps.row_direction, 'row')} + halo")
                asm.move(w_row, taps.weight_rows * weights.row_bytes, f"w: {advance(taps.weight_rows, 'row')} of taps")
            asm.gp.free(src_row, w_row, left)
        asm.move(w_at, reduction.channels * weights.channel_bytes, f"w: {advance(reduction.channels, 'channel')}")
    body.free()
    asm.gp.free(src_at, w_at)


@contextmanager
def _channels(asm: Assembler, reduction: Reduction, src_at: Any, cols: int) -> Iterator[None]:
    """Loops over channel blocks and channels of a block that move src_at; the last block has its own trip count.

    cols: source columns from this tile to the next.
    """
    source, unroll = reduction.source, reduction.channels
    assert gcd(source.block, source.c_tail) % unroll == 0
    full, tail, n_blocks = source.block // unroll, source.c_tail // unroll, source.n_c_blocks
    if full == 1:
        with asm.loop("c", n_blocks):
            yield
            if n_blocks > 1:
                asm.move(src_at, source.plane_bytes, "source: next block of channels")
        return
    ragged = n_blocks > 1 and tail != full
    with asm.loop("cb", n_blocks) as blocks_left:
        _prefetch_next_rows(asm, reduction, src_at, cols)
        trips: int | str = tail if n_blocks == 1 else full
        left = asm.gp.alloc("channels left")
        if ragged:
            whole = asm.label("whole_block")
            x86.MOV(left, full)
            x86.CMP(blocks_left, 1)
            x86.JNE(whole)
            x86.MOV(left, tail)
            asm.place(whole)
            trips = f"{full}, last block {tail}"
        with asm.loop("c", trips, left):
            yield
            asm.move(src_at, unroll * source.element_bytes, f"source: {advance(unroll, 'channel')}")
        asm.gp.free(left)
        if n_blocks > 1:
            asm.move(
                src_at,
                source.plane_bytes - source.block * source.element_bytes,
                "source: next block of channels, lane 0",
            )


def _prefetch_next_rows(asm: Assembler, reduction: Reduction, src_at: Any, cols: int) -> None:
    """What the tile below is the first to read, while this one computes: hardware sees many short streams there."""
    source = reduction.source
    if reduction.next_rows:
        asm.comment("fetch what the tile below is the first to read")
    for row in reduction.next_rows:
        for at in range(0, cols * source.pixel_bytes, LINE_BYTES):
            x86.PREFETCHT0([src_at + (row * source.row_bytes + at)])


#: Explains the notes beside the instructions of a tile.
NOTES = (
    "acc[r][q][g]: sum of pixel (r, q) of the tile, vector g of channels",
    "src[r][q]: one channel of source pixel (r, q), seen from the tile's first; w[g][i][j]: tap (i, j) for vector g",
)


class _Body:
    """One row of taps over one tile."""

    def __init__(self, asm: Assembler, reduction: Reduction, taps: Taps, tile: RegisterTile, acc: Accumulators) -> None:
        self.asm, self.reduction, self.taps, self.tile, self.acc = asm, reduction, taps, tile, acc
        self.held = [asm.vec.alloc(f"w {i}") for i in range(tile.n_weights)]
        self.pixel = asm.vec.alloc("src")

    def free(self) -> None:
        self.asm.vec.free(*self.held, self.pixel)

    def row(self, src: Any, w: Any, k: int | None) -> None:
        """acc += row tap k (None: of a loop), `chunk` column taps at a time.

        src: the address of source column 0 in the tile's first row; w: of the row's first weight.
        """
        cols = self.taps.cols
        for first in range(0, len(cols), self.tile.chunk):
            self._chunk(cols[first : first + self.tile.chunk], src, w, k)

    def _chunk(self, cols: tuple[tuple[int, int], ...], src: Any, w: Any, k: int | None) -> None:
        asm, source, weights, taps, tile = self.asm, self.reduction.source, self.reduction.weights, self.taps, self.tile
        w_operands: list[list[Any]] = []
        for t, (_, j) in enumerate(cols):
            at = [g * weights.oc_block_bytes + j * weights.tap_bytes for g in range(tile.vectors)]
            w_operands.append([[w + offset] for offset in at])
            if tile.weights_in_registers:
                registers = self.held[t * tile.vectors : (t + 1) * tile.vectors]
                for g, register in enumerate(registers):
                    asm.v.load(register, w_operands[t][g])
                    asm.note(f"w[{g}][{'k' if k is None else k * taps.weight_rows}][{j}]")
                w_operands[t] = registers
        meets: dict[int, list[tuple[int, int]]] = {}  # source column -> (tile column, tap) pairs
        for q in range(tile.cols):
            for t, (offset, _) in enumerate(cols):
                meets.setdefault(q * taps.step + offset, []).append((q, t))
        # Columns a window of taps apart share no accumulator: neighbours in this order do not wait for each other.
        span = max(offset for offset, _ in cols) - min(offset for offset, _ in cols) + 1
        for column in sorted(meets, key=lambda column: (column % span, column)):
            for r in range(tile.rows):
                row = r * taps.row_step
                asm.v.broadcast(self.pixel, [src + (row * source.row_bytes + column * source.pixel_bytes)])
                sign = "+" if taps.row_direction > 0 else "-"
                asm.note(f"src[{f'{row}{sign}k' if k is None else row + k * taps.row_direction}][{column}]")
                for q, t in meets[column]:
                    for g in range(tile.vectors):
                        asm.v.fma(self.acc[r][q][g], self.pixel, w_operands[t][g])
