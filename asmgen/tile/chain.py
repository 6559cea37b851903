"""How many samples a thread takes through a chain of entries at a time, so that they stay in L2 on their way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.layout import Image, Rows
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.schedule import Stage
from asmgen.tile.cost import L2_BYTES, MACHINES

_CACHE_BYTES = L2_BYTES * 3 // 4  # the rest is for code, stacks, lines on their way
_MOST_SAMPLES = 512  # that are looked at: by then the cache forgets as much as it learns
_LEAST_GAIN = 0.02  # of the time of the whole chain; below, the order of the calls is not worth a loop


@dataclass(frozen=True)
class Piece:
    """What a call reads or writes at once: a sample of a tensor, or a tensor that every sample needs (sample None)."""

    tensor: str
    sample: int | None
    size_bytes: int


def samples_at_a_time(plan: Plan, stage: Stage, isa: Isa) -> int:
    """Samples that go through the whole chain of `stage` before the next ones do; plan.batch: all at once.

    The fewest predicted cycles of powers of two; the larger number where two are equal.
    """
    chain = stage.by_samples
    if len(chain) < 2:
        return plan.batch
    most = min(plan.batch, _MOST_SAMPLES)
    powers = [1 << bit for bit in reversed(range((most - 1).bit_length()))]
    cycles = {n: chain_cycles(plan, chain, isa, n) for n in (most, *powers)}
    best = min(cycles, key=lambda n: cycles[n])
    return best if best < most and cycles[best] <= (1 - _LEAST_GAIN) * cycles[most] else plan.batch


def chain_cycles(plan: Plan, chain: Sequence[Entry], isa: Isa, n_samples: int) -> float:
    """Cycles of one thread for all samples, `n_samples` at a time; for the first _MOST_SAMPLES where there are more.

    A sample's pieces from beyond L2 arrive while the call computes, so the slower of the two counts. What all samples
    need (weights) is read in strides and again and again: a call waits for it. L2 holds whole pieces, and forgets the
    least recently used ones.
    """
    machine = MACHINES[isa.name]
    peak = 2 * isa.lanes(plan.dtype) * machine.multiply_adds
    held: OrderedDict[Piece, None] = OrderedDict()
    used, cycles = 0, 0.0
    for entry, pieces in _calls(plan, chain, n_samples):
        missed = {True: 0, False: 0}
        for piece in pieces:
            if piece in held:
                held.move_to_end(piece)
                continue
            missed[piece.sample is None] += piece.size_bytes
            used += piece.size_bytes
            held[piece] = None
            while used > _CACHE_BYTES and len(held) > 1:
                used -= held.popitem(last=False)[0].size_bytes
        computing = entry.spec.flops() / plan.batch / peak
        cycles += max(computing, missed[False] / machine.l3_bytes) + missed[True] / machine.l3_bytes
    return cycles


def _calls(plan: Plan, chain: Sequence[Entry], n_samples: int) -> Iterator[tuple[Entry, list[Piece]]]:
    """Entry by entry for `n_samples` and then the next ones: what it touches for each sample."""
    homes = {tensor.name: tensor.home or tensor.name for tensor in plan.tensors}
    per_sample = {homes[name] for entry in chain for name in entry.outputs}
    per_sample |= {tensor.name for tensor in plan.tensors if isinstance(tensor.layout, (Image, Rows))}
    sizes = {tensor.name: tensor.size_bytes for tensor in plan.tensors}
    most = min(plan.batch, _MOST_SAMPLES)
    for first in range(0, most, n_samples):
        for entry in chain:
            for sample in range(first, min(first + n_samples, most)):
                yield (
                    entry,
                    [
                        Piece(name, sample, sizes[name] // plan.batch)
                        if name in per_sample
                        else Piece(name, None, sizes[name])
                        for name in dict.fromkeys(homes[name] for name in (*entry.inputs, *entry.outputs))
                    ],
                )
