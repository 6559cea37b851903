"""Register tiles and cache blocks of the dense weight gradient: pure decisions, no emission."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from asmgen.asm.isa import Isa
from asmgen.plan.layout import DENSE_QUAD, LINE_BYTES, DenseWeights, DenseWeightsByOutput
from asmgen.plan.specs import DenseWeightGradient
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import L2_BYTES, Candidate, ranked
from asmgen.tile.dense.dense_product import MAX_VECTORS, n_registers, step_cycles

BLOCK_BYTES = 24 * 1024  # lanes of all samples that the weight gradient keeps in L1
L1_SETS, L1_WAYS = 64, 8  # what any core has at least
SPREAD_BLOCK_BYTES = 96 * 1024  # the same where spreading factors anew for every block costs more than L2
LEAST_SPREAD_TILES = 3  # that share the spread factors of a quad
LEAST_PACKED_QUADS = 8  # of factors that share a packed block, where its rows collide in L1
LEAST_STREAM_QUADS = 32  # the same where all that it gains is one stream of loads
MOST_PACKED_BYTES = 96 * 1024  # on the frame
MOST_SPREAD_BYTES = 128 * 1024
SINGLE_OVERHEAD = 1.2  # of tiles a vector wide: their steps touch a line of parameters at a time


@dataclass(frozen=True)
class UpdateTile:
    """4 outputs x `vectors` of inputs, summed over the samples; `block_tiles` tiles of x in L1 meet all outputs."""

    vectors: int
    holds_lanes: bool  # input vectors in registers; else memory operands
    block_tiles: int
    unroll: int
    prefetches: bool  # the next outputs' parameters and states, where all of them together come from beyond L2
    packs_lanes: bool  # blocks of x are copied to the frame, tile by tile: one stream, and no rows that collide in L1
    spreads_factors: bool  # dy of a quad is copied to the frame, each in every lane, where a broadcast shuffles

    def __str__(self) -> str:
        vectors, blocks = counted(self.vectors, "vector"), f"blocks of {counted(self.block_tiles, 'tile')}"
        text = f"{DENSE_QUAD} outputs x {vectors} = {DENSE_QUAD * self.vectors} accumulators"
        text += f"; {counted(self.unroll, 'sample')} an iteration, {blocks}"
        return text + ", x packed" * self.packs_lanes + ", dy spread" * self.spreads_factors


@dataclass(frozen=True)
class UpdateByOutputTile:
    """4 inputs x `vectors` of outputs, summed over the samples; then `single_quads` * 4 x 1 for what is left.

    A tile of dy in L1 meets all inputs.
    """

    vectors: int
    single_quads: int
    holds_lanes: bool  # output vectors in registers; else memory operands
    unroll: int
    packs_lanes: bool  # a tile of dy is copied to the frame: one stream, and no rows that collide in L1

    def __str__(self) -> str:
        text = f"{DENSE_QUAD} inputs x {counted(self.vectors, 'vector')}"
        if self.vectors == 1:
            text = f"{DENSE_QUAD * self.single_quads} inputs x 1 vector"
        return f"{text}; {counted(self.unroll, 'sample')} an iteration" + ", dy packed" * self.packs_lanes

    def quads(self, vectors: int) -> int:
        """Quads of inputs of a tile of so many vectors: a whole one, or a single."""
        return self.single_quads if vectors == 1 else 1


def choose_update_tile(spec: DenseWeightGradient, isa: Isa) -> UpdateTile | UpdateByOutputTile:
    """The tile with the fewest predicted cycles, and the blocks that keep its lanes in L1."""
    return update_candidates(spec, isa)[0].tile


def update_candidates(
    spec: DenseWeightGradient, isa: Isa
) -> tuple[Candidate[UpdateTile], ...] | tuple[Candidate[UpdateByOutputTile], ...]:
    """Every number of vectors that the registers hold, ranked."""
    weights, n = spec.weights, spec.x.n
    if isinstance(weights, DenseWeightsByOutput):
        single = _single_quads(weights, isa)

        def tile(vectors: int) -> UpdateByOutputTile:
            packs = vectors < weights.n_blocks and n * vectors * isa.vector_bytes <= MOST_PACKED_BYTES
            return UpdateByOutputTile(vectors, single, isa.has_fma, 2, packs)

        return ranked(Candidate(tile(vectors), cycles) for vectors, cycles in product_cycles(weights, n, isa))
    return ranked(
        Candidate(_by_input_tile(spec, vectors, isa), cycles) for vectors, cycles in product_cycles(weights, n, isa)
    )


def product_cycles(weights: DenseWeights | DenseWeightsByOutput, n: int, isa: Isa) -> list[tuple[int, float]]:
    """(vectors of a tile, cycles of the sums over n samples) for every tile that the registers hold."""
    if isinstance(weights, DenseWeightsByOutput):
        return [(vectors, n * _by_output_cycles(weights, vectors, isa)) for vectors in _widths(weights.n_blocks, isa)]
    n_vectors, found = weights.inputs.n_vectors, []
    for vectors in _widths(n_vectors, isa):
        step = sum(count * _cycles(isa, 1, width) for count, width in parts(n_vectors, vectors))
        found.append((vectors, n * weights.n_quads * step))
    return found


def _widths(n_vectors: int, isa: Isa) -> list[int]:
    """Of a tile of 4 rows, in vectors: what the registers hold of those that there are."""
    widths = range(1, min(MAX_VECTORS, n_vectors) + 1)
    return [vectors for vectors in widths if n_registers(DENSE_QUAD, vectors, isa) <= isa.n_vregs]


def _cycles(isa: Isa, quads: int, vectors: int) -> float:
    """Of a sample's part in the sums of a tile."""
    return step_cycles(isa, DENSE_QUAD * quads, vectors)


def _by_output_cycles(weights: DenseWeightsByOutput, vectors: int, isa: Isa) -> float:
    """Of a sample's part in all sums."""
    n_tiles, n_singles = divmod(weights.n_blocks, vectors) if vectors > 1 else (0, weights.n_blocks)
    singles = _column_cycles(weights.n_quads, _single_quads(weights, isa), isa)
    return n_tiles * weights.n_quads * _cycles(isa, 1, vectors) + n_singles * singles * SINGLE_OVERHEAD


def _single_quads(weights: DenseWeightsByOutput, isa: Isa) -> int:
    """Of tiles that are a vector wide: those with the fewest predicted cycles."""
    most = (isa.n_vregs - n_registers(0, 1, isa)) // DENSE_QUAD
    return min(range(1, most + 1), key=lambda quads: _column_cycles(weights.n_quads, quads, isa))


def _column_cycles(n_quads: int, most: int, isa: Isa) -> float:
    """Of a sample's part in the sums of one vector, in tiles of at most so many quads."""
    return sum(count * _cycles(isa, quads, 1) for count, quads in parts(n_quads, most))


def _by_input_tile(spec: DenseWeightGradient, vectors: int, isa: Isa) -> UpdateTile:
    lanes = spec.x
    prefetches = spec.n_blocks * spec.weights.size_bytes > L2_BYTES
    spread_bytes = lanes.n * DENSE_QUAD * isa.vector_bytes
    spreads = isa.shuffles_broadcasts(lanes.dtype) and lanes.n_vectors // vectors >= LEAST_SPREAD_TILES
    spreads = spreads and spread_bytes <= MOST_SPREAD_BYTES
    block_bytes = SPREAD_BLOCK_BYTES if spreads else BLOCK_BYTES
    block_tiles = max(1, block_bytes // (lanes.n * vectors * isa.vector_bytes))
    block_tiles = min(block_tiles, lanes.n_vectors // vectors)
    width_bytes = block_tiles * vectors * isa.vector_bytes
    collides = _collide(lanes.n, lanes.sample_bytes, width_bytes)
    is_reused = spec.slice_units() >= (LEAST_PACKED_QUADS if collides else LEAST_STREAM_QUADS)
    packs = is_reused and vectors < lanes.n_vectors and lanes.n * width_bytes <= MOST_PACKED_BYTES
    return UpdateTile(vectors, isa.has_fma, block_tiles, 2, prefetches, packs, spreads)


def _collide(rows: int, pitch_bytes: int, width_bytes: int) -> bool:
    """Whether more lines of a block fall on one set of L1 than it has ways."""
    step = gcd(pitch_bytes, L1_SETS * LINE_BYTES) // LINE_BYTES  # rows begin at sets that are multiples of it
    return width_bytes < step * LINE_BYTES and rows * step > L1_WAYS * L1_SETS
