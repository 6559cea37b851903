"""Register tiles and cache blocks of the dense kernels: pure decisions, no emission."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from asmgen.asm.isa import Isa
from asmgen.plan.layout import DENSE_ROW_GROUP, LINE_BYTES
from asmgen.plan.specs import DenseBackwardInput, DenseForward, DenseUpdate
from asmgen.tile.cost import L2_BYTES, MACHINES, Candidate, ranked
from asmgen.tile.split import parts
from asmgen.tile.words import counted

UNSPLIT_ROW_BYTES = 8192  # input rows up to this length are summed in one go
BLOCK_ROW_BYTES = 4096  # else in blocks of about this much, so that a tile's rows stay in L1
X_BLOCK_BYTES = 24 * 1024  # inputs of all samples that the weight gradient keeps in L1
MAX_SAMPLES, MAX_VECTORS = 8, 8
L1_SETS, L1_WAYS = 64, 8  # what any core has at least
SPREAD_X_BLOCK_BYTES = 96 * 1024  # the same where spreading dy anew for every block costs more than reading x from L2
LEAST_SPREAD_TILES = 3  # that share the spread dy of a group
LEAST_PACKED_GROUPS = 8  # of outputs that share a packed block, where its rows collide in L1
LEAST_STREAM_GROUPS = 32  # the same where all that it gains is one stream of loads
MOST_PACKED_BYTES = 96 * 1024
STEP_OVERHEAD = 0.5  # cycles of a step that larger tiles save
SUM_CYCLES = 10  # of the horizontal sums of a sample and four outputs


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
    unroll: int

    def __str__(self) -> str:
        sums = f"{self.n_accumulators} accumulators of partial sums"
        text = f"{counted(self.samples, 'sample')} x {DENSE_ROW_GROUP} outputs = {sums}"
        return f"{text}; {counted(self.unroll, 'vector')} of inputs an iteration, blocks of {self.block_vectors}"

    def check(self, isa: Isa) -> None:
        """Raise ValueError when the registers do not suffice."""
        n = self.n_accumulators + self.n_w_registers + (self.samples if self.holds_x else 0) + (not isa.has_fma)
        _require_registers(n, isa, self)

    @property
    def n_accumulators(self) -> int:
        return self.samples * DENSE_ROW_GROUP * self.phases(self.samples)

    @staticmethod
    def phases(samples: int) -> int:
        """Sets of accumulators: two for one sample, whose four would leave the FMA units waiting for each other."""
        return 2 if samples == 1 else 1


@dataclass(frozen=True)
class BackwardInputTile:
    """`samples` x `vectors` of inputs, summed over the outputs; then single vectors where the slice leaves some."""

    samples: int
    vectors: int
    holds_w: bool  # weight vectors in registers; else memory operands
    unroll: int
    prefetches: bool  # the next tile's weights, where they come from beyond L2 (in steps that hardware does not guess)

    def __str__(self) -> str:
        samples, vectors = counted(self.samples, "sample"), counted(self.vectors, "vector")
        sums = counted(self.samples * self.vectors, "accumulator")
        return f"{samples} x {vectors} = {sums}; {counted(self.unroll, 'output')} an iteration"


@dataclass(frozen=True)
class UpdateTile:
    """4 outputs x `vectors` of inputs, summed over the samples; `block_tiles` tiles of x in L1 meet all outputs."""

    vectors: int
    holds_x: bool  # input vectors in registers; else memory operands
    block_tiles: int
    unroll: int
    prefetches: bool  # the next outputs' parameters and states, where all of them together come from beyond L2
    packs_x: bool  # blocks of x are copied to the frame, tile by tile: one stream, and no rows that collide in L1
    spreads_dy: bool  # dy of a group is copied to the frame, each in every lane: a broadcast shuffles, a load does not

    def __str__(self) -> str:
        vectors, blocks = counted(self.vectors, "vector"), f"blocks of {counted(self.block_tiles, 'tile')}"
        text = f"{DENSE_ROW_GROUP} outputs x {vectors} = {DENSE_ROW_GROUP * self.vectors} accumulators"
        text += f"; {counted(self.unroll, 'sample')} an iteration, {blocks}"
        return text + ", x packed" * self.packs_x + ", dy spread" * self.spreads_dy


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
    most = (isa.n_vregs - scratch - 1) // (DENSE_ROW_GROUP + int(holds_x))
    found = []
    for samples in range(min(most, spec.x.n), 0, -1):
        accumulators = samples * DENSE_ROW_GROUP * ForwardTile.phases(samples)
        free = isa.n_vregs - scratch - accumulators - (samples if holds_x else 0)
        tile = ForwardTile(samples, min(free, DENSE_ROW_GROUP), holds_x, block_vectors, unroll)
        tile.check(isa)
        found.append(Candidate(tile, _forward_cycles(spec, isa, tile)))
    return ranked(found)


def _forward_cycles(spec: DenseForward, isa: Isa, tile: ForwardTile) -> float:
    machine, total = MACHINES[isa.name], 0.0
    n_blocks = -(-spec.x.n_vectors // tile.block_vectors)
    for count, samples in parts(spec.x.n, tile.samples):
        macs = samples * DENSE_ROW_GROUP
        loads = DENSE_ROW_GROUP + (samples if tile.holds_x else macs)
        latency = machine.latency / ForwardTile.phases(samples)
        step = max(macs / machine.multiply_adds, loads / machine.loads, latency) + STEP_OVERHEAD
        total += count * (spec.x.n_vectors * step + n_blocks * samples * SUM_CYCLES)
    return spec.slice_units() * total


def choose_input_tile(spec: DenseBackwardInput, isa: Isa) -> BackwardInputTile:
    """The samples x vectors with the fewest predicted cycles over the whole batch and row."""
    return input_candidates(spec, isa)[0].tile


def input_candidates(spec: DenseBackwardInput, isa: Isa) -> tuple[Candidate[BackwardInputTile], ...]:
    """Every samples x vectors that the registers hold, ranked."""

    def cycles(samples: int, vectors: int) -> float:
        n_tiles, n_singles = divmod(spec.dx.n_vectors, vectors)
        return spec.weights.out * sum(
            count * (n_tiles * _step_cycles(isa, extent, vectors) + n_singles * _step_cycles(isa, extent, 1))
            for count, extent in parts(spec.dx.n, samples)
        )

    prefetches = spec.weights.bias_offset_bytes > L2_BYTES
    return ranked(
        Candidate(BackwardInputTile(samples, vectors, isa.has_fma, 2, prefetches), cycles(samples, vectors))
        for vectors in range(1, min(MAX_VECTORS, spec.dx.n_vectors) + 1)
        for samples in range(1, min(MAX_SAMPLES, spec.dx.n) + 1)
        if _n_registers(samples, vectors, isa) <= isa.n_vregs
    )


def choose_update_tile(spec: DenseUpdate, isa: Isa) -> UpdateTile:
    """The vectors with the fewest predicted cycles over a row, and as many such tiles as keep x in L1."""
    return update_candidates(spec, isa)[0].tile


def update_candidates(spec: DenseUpdate, isa: Isa) -> tuple[Candidate[UpdateTile], ...]:
    """Every number of vectors that the registers hold, ranked."""
    n_vectors = spec.x.n_vectors
    prefetches = (1 + spec.update.n_states) * spec.weights.size_bytes > L2_BYTES

    def cycles(vectors: int) -> float:
        steps = sum(count * _step_cycles(isa, DENSE_ROW_GROUP, extent) for count, extent in parts(n_vectors, vectors))
        return spec.slice_units() * spec.x.n * steps

    def tile(vectors: int) -> UpdateTile:
        spreads = isa.shuffles_broadcasts(spec.x.dtype) and n_vectors // vectors >= LEAST_SPREAD_TILES
        block_bytes = SPREAD_X_BLOCK_BYTES if spreads else X_BLOCK_BYTES
        block_tiles = max(1, block_bytes // (spec.x.n * vectors * isa.vector_bytes))
        block_tiles = min(block_tiles, n_vectors // vectors)
        width_bytes = block_tiles * vectors * isa.vector_bytes
        collides = _collide(spec.x.n, spec.x.sample_bytes, width_bytes)
        is_reused = spec.slice_units() >= (LEAST_PACKED_GROUPS if collides else LEAST_STREAM_GROUPS)
        packs = is_reused and vectors < n_vectors and spec.x.n * width_bytes <= MOST_PACKED_BYTES
        return UpdateTile(vectors, isa.has_fma, block_tiles, 2, prefetches, packs, spreads)

    return ranked(
        Candidate(tile(vectors), cycles(vectors))
        for vectors in range(1, min(MAX_VECTORS, n_vectors) + 1)
        if _n_registers(DENSE_ROW_GROUP, vectors, isa) <= isa.n_vregs
    )


def _collide(rows: int, pitch_bytes: int, width_bytes: int) -> bool:
    """Whether more lines of a block fall on one set of L1 than it has ways."""
    step = gcd(pitch_bytes, L1_SETS * LINE_BYTES) // LINE_BYTES  # rows begin at sets that are multiples of it
    return width_bytes < step * LINE_BYTES and rows * step > L1_WAYS * L1_SETS


def _n_registers(broadcasts: int, vectors: int, isa: Isa) -> int:
    """Of a broadcasts x vectors tile: accumulators, one broadcast, and with FMA the vectors (without it a scratch)."""
    return broadcasts * vectors + 1 + (vectors if isa.has_fma else 1)


def _step_cycles(isa: Isa, broadcasts: int, vectors: int) -> float:
    """Of one step of a broadcasts x vectors tile: multiply-adds, loads, each chain at its latency."""
    machine = MACHINES[isa.name]
    macs, loads = broadcasts * vectors, broadcasts + vectors
    multiply_adds = macs / machine.multiply_adds
    if not isa.has_fma:
        multiply_adds = max(multiply_adds, (2 * macs + broadcasts) / machine.vector_ports)
    return max(multiply_adds, loads / machine.loads, machine.latency) + STEP_OVERHEAD


def _require_registers(n: int, isa: Isa, tile: object) -> None:
    if n > isa.n_vregs:
        raise ValueError(f"{tile} needs {n} vector registers, {isa.name} has {isa.n_vregs}")
