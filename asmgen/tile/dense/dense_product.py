"""Register tiles and cache blocks of dense forward and dx: pure decisions, no emission."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.layout import DENSE_QUAD, Rows
from asmgen.plan.specs import DenseBackwardInput, DenseForward, DenseForwardByOutput
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import L2_BYTES, MACHINES, Candidate, ranked

UNSPLIT_ROW_BYTES = 8192  # input rows up to this length are summed in one go
BLOCK_ROW_BYTES = 4096  # else in blocks of about this much, so that a tile's rows stay in L1
BLOCK_WEIGHT_BYTES = 24 * 1024  # of a block of outputs that stays in L1
TURNED_BYTES = 16  # of weights that are turned in a cycle
L1_TURNED_BYTES = 32 * 1024  # of weights that are turned at a time: they stay in L1
MAX_SAMPLES, MAX_VECTORS = 14, 8
FEW_VECTORS = 8  # of lanes, for the threads to share
STEP_OVERHEAD = 0.5  # cycles of a step that larger tiles save


@dataclass(frozen=True)
class ForwardTile:
    """`samples` x 4 outputs, lanes along the inputs; inputs in blocks of `block_vectors` with partial sums kept in y.

    holds_x: the tile's inputs are in registers and each weight vector is loaded as it is used; else each weight
    vector is in a register and the inputs are memory operands (two-operand code copies the weights anyway).
    """

    samples: int
    n_w_registers: int
    holds_x: bool
    block_vectors: int
    block_quads: int  # quads of outputs whose weights stay in L1 for all samples, a power of two; 0: all, from L2
    unroll: int

    def __str__(self) -> str:
        sums = f"{self.n_accumulators} accumulators of partial sums"
        text = f"{counted(self.samples, 'sample')} x {DENSE_QUAD} outputs = {sums}"
        text += f"; {counted(self.unroll, 'vector')} of inputs an iteration, blocks of {self.block_vectors}"
        return text + (f" x {self.block_quads * DENSE_QUAD} outputs" if self.block_quads else "")

    def check(self, isa: Isa) -> None:
        """Raise ValueError when the registers do not suffice."""
        n = self.n_accumulators + self.n_w_registers + (self.samples if self.holds_x else 0) + (not isa.has_fma)
        _require_registers(n, isa, self)

    @property
    def n_accumulators(self) -> int:
        return self.samples * DENSE_QUAD * self.phases(self.samples)

    @staticmethod
    def phases(samples: int) -> int:
        """Sets of accumulators: two for one sample, whose four would leave the FMA units waiting for each other."""
        return 2 if samples == 1 else 1


@dataclass(frozen=True)
class ProductTile:
    """`samples` x `vectors` of lanes, summed over the terms; then `single_samples` x 1 where the slice leaves some."""

    samples: int
    vectors: int
    single_samples: int
    holds_b: bool  # weight vectors in registers; else memory operands
    unroll: int
    prefetches: bool  # the next tile's weights, where they come from beyond L2 (in steps that hardware does not guess)

    def __str__(self) -> str:
        samples, vectors = counted(self.samples, "sample"), counted(self.vectors, "vector")
        sums = counted(self.samples * self.vectors, "accumulator")
        return f"{samples} x {vectors} = {sums}; {counted(self.unroll, 'term')} an iteration"

    def height(self, vectors: int) -> int:
        """Samples of a tile of so many vectors: a whole one, or a single."""
        return self.samples if vectors == self.vectors else self.single_samples


def choose_forward_tile(spec: DenseForward, isa: Isa) -> ForwardTile:
    """The samples with the fewest predicted cycles."""
    return forward_candidates(spec, isa)[0].tile


def forward_candidates(spec: DenseForward, isa: Isa) -> tuple[Candidate[ForwardTile], ...]:
    """Every number of samples that the registers take, ranked."""
    scratch = int(not isa.has_fma)
    holds_x = isa.has_fma
    row_bytes = spec.x.n_vectors * isa.vector_bytes
    n_blocks = 1 if row_bytes <= UNSPLIT_ROW_BYTES else -(-row_bytes // BLOCK_ROW_BYTES)
    unroll = 2
    block_vectors = min(-(-spec.x.n_vectors // (n_blocks * unroll)) * unroll, spec.x.n_vectors)
    most = (isa.n_vregs - scratch - 1) // (DENSE_QUAD + int(holds_x))
    found = []
    for samples in range(min(most, spec.x.n), 0, -1):
        accumulators = samples * DENSE_QUAD * ForwardTile.phases(samples)
        free = isa.n_vregs - scratch - accumulators - (samples if holds_x else 0)
        quads = _block_quads(spec, samples) if block_vectors == spec.x.n_vectors else 0
        tile = ForwardTile(samples, min(free, DENSE_QUAD), holds_x, block_vectors, quads, unroll)
        tile.check(isa)
        found.append(Candidate(tile, _forward_cycles(spec, isa, tile)))
    return ranked(found)


def _block_quads(spec: DenseForward, samples: int) -> int:
    """As many as L1 takes beside x, where reading x again for each block is less than all weights for each tile."""
    quad_bytes = DENSE_QUAD * spec.weights.row_bytes
    quads = BLOCK_WEIGHT_BYTES // quad_bytes
    if not quads or quads >= spec.slice_units():
        return 0
    quads = 1 << (quads.bit_length() - 1)
    n_blocks, n_tiles = -(-spec.slice_units() // quads), -(-spec.x.n // samples)
    blocked_bytes = n_blocks * spec.x.size_bytes + spec.weights.bias_offset_bytes
    return quads if blocked_bytes < n_tiles * spec.weights.bias_offset_bytes + spec.x.size_bytes else 0


def _forward_cycles(spec: DenseForward, isa: Isa, tile: ForwardTile) -> float:
    machine, total = MACHINES[isa.name], 0.0
    n_blocks = -(-spec.x.n_vectors // tile.block_vectors)
    for count, samples in parts(spec.x.n, tile.samples):
        macs = samples * DENSE_QUAD
        loads = DENSE_QUAD + (samples if tile.holds_x else macs)
        latency = machine.latency / ForwardTile.phases(samples)
        step = max(macs / machine.multiply_adds, loads / machine.loads, latency) + machine.dense_rows
        total += count * (spec.x.n_vectors * step + n_blocks * samples * machine.lane_sums)
    return spec.slice_units() * total


def choose_input_tile(spec: DenseBackwardInput, isa: Isa) -> ProductTile:
    """The samples x vectors with the fewest predicted cycles over the whole batch and row."""
    return input_candidates(spec, isa)[0].tile


def input_candidates(spec: DenseBackwardInput, isa: Isa) -> tuple[Candidate[ProductTile], ...]:
    """Every samples x vectors that the registers hold, ranked."""
    prefetches = spec.weights.bias_offset_bytes > L2_BYTES
    return _product_candidates(spec.dx.n, spec.weights.out, spec.dx.n_vectors, isa, prefetches=prefetches)


def choose_by_output_tile(spec: DenseForwardByOutput, isa: Isa) -> ProductTile:
    """The samples x vectors with the fewest predicted cycles over the whole batch and row."""
    return by_output_candidates(spec, isa)[0].tile


def by_output_candidates(spec: DenseForwardByOutput, isa: Isa) -> tuple[Candidate[ProductTile], ...]:
    """Every samples x vectors that the registers hold, and the frame where the weights are turned on it, ranked."""
    found = _product_candidates(spec.y.n, n_terms(spec.x), spec.y.n_vectors, isa, prefetches=False)
    if not spec.turns:
        return found
    cycles = spec.y.n_vectors * spec.turned_bytes / TURNED_BYTES
    return tuple(
        Candidate(each.tile, each.cycles + cycles)
        for each in found
        if each.tile.vectors * spec.turned_bytes <= L1_TURNED_BYTES or each.tile.vectors == 1
    )


def n_terms(x: Rows) -> int:
    """Of a sum over the inputs: their number, with the pad lanes (zeros) where they are an image's."""
    return x.features if x.source is None else x.stride


def _product_candidates(
    n: int, terms: int, n_vectors: int, isa: Isa, *, prefetches: bool
) -> tuple[Candidate[ProductTile], ...]:
    """Of n x n_vectors sums. Where these are few, in two slices: a second thread should find whole tiles, too."""

    def columns(samples: int, vectors: int) -> float:
        return sum(count * step_cycles(isa, extent, vectors) for count, extent in parts(n, samples))

    slices = (n_vectors // 2, n_vectors - n_vectors // 2) if n_vectors < FEW_VECTORS else (n_vectors,)
    tallest = min(n, _most_samples(isa, 1))
    single = min(range(tallest, 0, -1), key=lambda samples: columns(samples, 1))

    def candidate(samples: int, vectors: int) -> Candidate[ProductTile]:
        tile = ProductTile(samples, vectors, single, isa.has_fma, 2, prefetches)
        cycles = 0.0
        for count in slices:
            n_tiles, n_singles = divmod(count, vectors)
            cycles += n_tiles * columns(tile.height(vectors), vectors) + n_singles * columns(single, 1)
        return Candidate(tile, terms * cycles)

    several = [
        candidate(samples, vectors)
        for vectors in range(2, min(MAX_VECTORS, n_vectors) + 1)
        for samples in range(1, min(MAX_SAMPLES, n, _most_samples(isa, vectors)) + 1)
    ]
    return ranked([candidate(single, 1), *several])


def n_registers(broadcasts: int, vectors: int, isa: Isa) -> int:
    """Of a broadcasts x vectors tile: accumulators, one broadcast, and with FMA the vectors (without it a scratch)."""
    return broadcasts * vectors + 1 + (vectors if isa.has_fma else 1)


def _most_samples(isa: Isa, vectors: int) -> int:
    """That the registers hold beside a broadcast and as many vectors."""
    return (isa.n_vregs - n_registers(0, vectors, isa)) // vectors


def step_cycles(isa: Isa, broadcasts: int, vectors: int) -> float:
    """Of one step of a broadcasts x vectors tile: multiply-adds, loads, each chain at its latency."""
    machine = MACHINES[isa.name]
    macs, loads = broadcasts * vectors, broadcasts + vectors
    multiply_adds = macs / machine.multiply_adds
    if not isa.has_fma:
        multiply_adds = max(multiply_adds, (2 * macs + broadcasts) / machine.vector_ports)
    bound = max(multiply_adds, loads / machine.loads, machine.latency)
    return bound + STEP_OVERHEAD + loads * machine.dense_load


def _require_registers(n: int, isa: Isa, tile: object) -> None:
    if n > isa.n_vregs:
        raise ValueError(f"{tile} needs {n} vector registers, {isa.name} has {isa.n_vregs}")
