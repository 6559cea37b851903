"""The tile of Winograd's convolution: which tiles are transformed together, and the register tiles of their products.

A block should be large, since u is read once for every block, and small, since v and p want to stay in L1. A small
model of the machine weighs the two, the remainders and the work that overlapping blocks do twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import gcd

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv, Conv2dBackwardInputWinograd, Conv2dForwardWinograd
from asmgen.plan.specs.winograd import Correlation
from asmgen.plan.winograd import (
    MOST_INPUTS,
    SIZES,
    TAPS,
    TRANSFORMS,
    TransformedOutputs,
    TransformedTiles,
    TransformedWeights,
)
from asmgen.tile.common.count_text import counted
from asmgen.tile.conv.conv2d_body import splits
from asmgen.tile.cost import MACHINES, Candidate, arithmetic_cycles, ranked

MAX_FRAME_BYTES = 248 * 1024  # v and p on the stack; a thread has four times as much
MAX_TILES = 32  # of a block
MAX_VECTORS = 8  # of a group
MAX_CHANNELS = 4  # input channels per iteration

_PRODUCT_CYCLES = 12  # loop control and the drained pipeline around a register tile
_L1_BYTES = 40 * 1024  # of v and p that stay in L1 beside u
_L2_BYTES = 3 * 1024 * 1024 // 2  # of u that stay in L2 beside the images
_OVERLAP = 0.3  # of the shorter of two things that run side by side shows
_SPILL_CYCLES = 1 / (40 * 1024)  # of a cache line of v, for every byte of v and p beyond L1
_BLOCK_ROW_SHARE = 0.005  # of the cycles, for every row of tiles in a block: rows of an image lie far apart
_GROUP_KIND_SHARE = 0.02  # for a second kind of group: its code does not stay in the decoder's cache
_EPILOGUE_CYCLES = 2  # of an output, pooled or not
_EXACT_ON_ZEROS = 2  # the largest m whose outputs are exactly 0 over zeros, whatever else their tile reads
_PAYS = 0.9  # of the direct kernel's cycles


@dataclass(frozen=True)
class ProductTile:
    """`count` register tiles of `tiles` x `vectors` sums, one after the other."""

    tiles: int
    vectors: int
    count: int
    weights_in_registers: bool

    def __str__(self) -> str:
        return f"{self.count} x {self.tiles}" if self.count > 1 else str(self.tiles)


@dataclass(frozen=True)
class Group:
    """`count` times `vectors` vectors of outputs; their products with the tiles of a block."""

    vectors: int
    count: int
    products: tuple[ProductTile, ...]


@dataclass(frozen=True)
class WinogradTile:
    """Blocks of rows x cols tiles of m x m outputs; channels: input channels per iteration of the products.

    n_rows, n_cols: blocks down and across; where they do not fit, the last one overlaps its neighbour.
    """

    m: int
    rows: int
    cols: int
    n_rows: int
    n_cols: int
    groups: tuple[Group, ...]
    channels: int

    @property
    def n_tiles(self) -> int:
        """Tiles of a block."""
        return self.rows * self.cols

    def scratch(self, u: TransformedWeights) -> tuple[TransformedTiles, tuple[TransformedOutputs, ...]]:
        """The layouts of v, and of p for each group."""
        return _scratch(u, self.n_tiles, tuple(group.vectors for group in self.groups))

    def __str__(self) -> str:
        products = ", ".join(
            f"{counted(group.count, 'group')} of {counted(group.vectors, 'output vector')}"
            f" by {' + '.join(map(str, group.products))} tiles"
            for group in self.groups
        )
        return (
            f"{self.n_rows} x {self.n_cols} blocks of {self.rows} x {self.cols} tiles of {self.m} x {self.m} outputs; "
            f"products: {products}; {counted(self.channels, 'channel')} unrolled"
        )


def choose_tile(spec: Conv2dForwardWinograd | Conv2dBackwardInputWinograd, isa: Isa) -> WinogradTile:
    """The blocks and products with the fewest predicted cycles.

    Raises ValueError when the transforms of a single tile exceed a frame.
    """
    best = _best(spec.correlation, isa)
    if best is None:
        raise ValueError(f"{spec.stem()}: the transforms of a tile need a frame above {MAX_FRAME_BYTES} B; use direct")
    return best.tile


def candidates(
    spec: Conv2dForwardWinograd | Conv2dBackwardInputWinograd, isa: Isa
) -> tuple[Candidate[WinogradTile], ...]:
    """All blocks whose v and p fit into a frame, with the best products of each, ranked."""
    n = spec.conv.x.n
    return ranked(Candidate(found.tile, n * found.cycles) for found in _blocks(spec.correlation, isa))


def algorithms(
    conv: Conv, isa: Isa, sizes: tuple[int, ...] = SIZES, *, backward: bool = False
) -> tuple[Candidate[int | None], ...]:
    """Ways to compute a convolution, ranked: m of `sizes` for F(m x m, 3 x 3), or None for the direct kernel.

    The transform of the weights is counted. backward: the input gradient instead of the forward direction. An m is left
    out where so many channels are summed that its error could exceed RMS_LIMITS, and where it would round the outputs
    over nothing but padding: a ReLU must find their bias of 0 there, not its neighbour. Which pools can be fused is for
    the spec's check to say.
    """
    w, x = conv.weights, conv.x
    rows, cols = (x.h, x.w) if backward else (conv.oh, conv.ow)
    outputs, inputs = (w.c, w.oc) if backward else (w.oc, w.c)
    machine = MACHINES[isa.name]
    macs = x.n * rows * cols * w.kh * w.kw * inputs * -(-outputs // w.block)
    found: list[Candidate[int | None]] = [Candidate(None, _PAYS * macs / machine.multiply_adds)]
    if (w.kh, w.kw, conv.sh, conv.sw) == (TAPS, TAPS, 1, 1) and x.block == w.block:
        largest = _EXACT_ON_ZEROS if conv.has_windows_of_zeros and not backward else max(SIZES)
        for m in (each for each in sizes if each <= largest and inputs <= MOST_INPUTS[each]):
            u = TransformedWeights(outputs, inputs, m, w.block, w.dtype, backward)
            best = _best(Correlation(x, 0, 0, rows, cols, u), isa)
            if best is not None:
                found.append(Candidate(m, x.n * best.cycles + u.size_bytes / 64 * machine.write_line))
    return ranked(found)


def _scratch(
    u: TransformedWeights, n_tiles: int, vectors: tuple[int, ...]
) -> tuple[TransformedTiles, tuple[TransformedOutputs, ...]]:
    n_positions = u.transform.n_positions
    outputs = (TransformedOutputs(n_positions, group, n_tiles, u.block, u.dtype) for group in vectors)
    return TransformedTiles(n_positions, n_tiles, u.inputs, u.block, u.dtype), tuple(outputs)


@cache
def _best(what: Correlation, isa: Isa) -> Candidate[WinogradTile] | None:
    """The best tile for a sample; None when no tile's frame is small enough."""
    return min(_blocks(what, isa), key=lambda found: found.cycles, default=None)


def _blocks(what: Correlation, isa: Isa) -> Iterator[Candidate[WinogradTile]]:
    """All tiles whose v and p fit into a frame, for a sample."""
    u, m = what.u, what.u.m
    for rows, cols in _block_shapes(what):
        n_rows, n_cols, n_tiles = -(-what.rows // (rows * m)), -(-what.cols // (cols * m)), rows * cols
        for split in splits(u.n_blocks, MAX_VECTORS):
            v, outputs = _scratch(u, n_tiles, tuple(vectors for vectors, _ in split))
            frame = v.size_bytes + max(layout.size_bytes for layout in outputs)
            found = [_best_products(isa, u, n_tiles, vectors) for vectors, _ in split]
            products = [each for each in found if each is not None]
            if len(products) < len(split) or frame > MAX_FRAME_BYTES:
                continue
            groups = tuple(
                Group(vectors, count, tiles) for (vectors, count), (tiles, _) in zip(split, products, strict=True)
            )
            cycles = n_tiles * _transform_cycles(what, isa, frame)
            cycles += sum(count * each[1] for (_, count), each in zip(split, products, strict=True))
            cycles *= 1 + _BLOCK_ROW_SHARE * rows + _GROUP_KIND_SHARE * (len(groups) - 1)
            tile = WinogradTile(m, rows, cols, n_rows, n_cols, groups, gcd(u.inputs, MAX_CHANNELS))
            yield Candidate(tile, n_rows * n_cols * cycles)


def _block_shapes(what: Correlation) -> Iterator[tuple[int, int]]:
    """Rows and columns of tiles that fit into the output."""
    max_rows, max_cols = what.rows // what.u.m, what.cols // what.u.m
    for rows in range(1, min(MAX_TILES, max_rows) + 1):
        for cols in range(1, min(MAX_TILES // rows, max_cols) + 1):
            yield rows, cols


@cache
def _best_products(
    isa: Isa, u: TransformedWeights, n_tiles: int, vectors: int
) -> tuple[tuple[ProductTile, ...], float] | None:
    """The fastest register tiles of one group, and the cycles of all its positions; None: it needs more registers."""
    best = None
    machine, in_registers = MACHINES[isa.name], isa.has_fma
    beside = vectors + 1 if in_registers else 2  # u and an element of v, or an element of v and a product
    for split in splits(n_tiles, (isa.n_vregs - beside) // vectors):
        tiles = tuple(ProductTile(size, vectors, count, in_registers) for size, count in split)
        cycles = sum(tile.count * _product_cycles(isa, u.inputs, tile) for tile in tiles)
        bytes_ = u.inputs * vectors * u.input_bytes
        stream = bytes_ / (machine.stream_bytes if u.size_bytes <= _L2_BYTES else machine.far_stream_bytes)
        cycles = u.transform.n_positions * (max(cycles, stream) + _OVERLAP * min(cycles, stream))
        if best is None or cycles < best[1]:
            best = tiles, cycles
    return best


def _product_cycles(isa: Isa, inputs: int, tile: ProductTile) -> float:
    """One register tile of one position over all channels, and its stores."""
    macs = tile.tiles * tile.vectors
    loads = tile.tiles + (tile.vectors if isa.has_fma else macs)
    arithmetic = arithmetic_cycles(isa, macs, loads, tile.tiles)
    machine = MACHINES[isa.name]
    return inputs * max(arithmetic, loads / machine.loads, machine.latency) + macs + _PRODUCT_CYCLES


def _transform_cycles(what: Correlation, isa: Isa, frame: int) -> float:
    """One tile's transforms: of all vectors of inputs and outputs."""
    u, m = what.u, what.u.m
    transform = TRANSFORMS[m]
    rate = MACHINES[isa.name].adds
    lines = transform.n_positions * u.input_bytes / 64
    spill = max(0.0, frame - _L1_BYTES) * _SPILL_CYCLES
    into = 4 * transform.n_positions / rate + lines * (1 + spill)
    out = 3 * transform.n_positions / rate + lines * spill / 2 + _EPILOGUE_CYCLES * m * m
    return what.source.n_c_blocks * into + u.n_blocks * out
