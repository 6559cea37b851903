"""How many parts of the samples a weight gradient is summed in, so that threads find enough slices."""

from __future__ import annotations

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv, Depthwise
from asmgen.tile.cost import MACHINES

_WANTED_UNITS = 8  # slices: a few for each of as many threads as small networks can use
_MOST_COST = 0.02  # of the products: what storing the parts and adding them may take
_STORE_BYTES = 16  # a cycle, to L2


def sample_parts(conv: Conv | Depthwise, isa: Isa) -> int:
    """The fewest parts that give enough slices, or the most that cost little. Divides the batch."""
    best = 1
    for n_parts in (n for n in range(1, conv.x.n + 1) if conv.x.n % n == 0):
        if n_parts > 1 and _cost(conv, isa, n_parts) > _MOST_COST:
            break
        best = n_parts
        if n_parts * conv.weights.n_oc_blocks >= _WANTED_UNITS:
            break
    return best


def _cost(conv: Conv | Depthwise, isa: Isa, n_parts: int) -> float:
    """Cycles for the parts over cycles for the products."""
    products = conv.macs / (isa.lanes(conv.x.dtype) * MACHINES[isa.name].multiply_adds)
    return n_parts * 2 * conv.weights.size_bytes / _STORE_BYTES / products
