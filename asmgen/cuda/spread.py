"""How independent pieces of work are spread over a grid of threads."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 256  # a block of kernels that stream
_SMS = 132  # of an H100 or H200; smaller GPUs run the same grid in more waves
_BLOCKS_PER_SM = 8  # 2048 threads
_MAX_INDEX = 2**31 - 1

VEC_BYTES = 16


@dataclass(frozen=True)
class Spread:
    """`items` over `blocks` of THREADS; each thread takes items thread, thread + all threads, ..."""

    items: int
    blocks: int

    @property
    def trips(self) -> int:
        """Items of the first thread, which has the most."""
        return -(-self.items // (self.blocks * THREADS))

    @property
    def loops(self) -> tuple[str, ...]:
        return (f"block ({self.blocks}x), thread ({THREADS}x)", f"  item ({self.trips}x, in steps of the grid)")


def spread(items: int, elements: int) -> Spread:
    """One item a thread while that fits the GPU at once, then a loop. `elements`: of the largest tensor.

    Raises ValueError where an index would not fit 32 bits.
    """
    if elements > _MAX_INDEX:
        raise ValueError(f"a tensor of {elements} elements: kernels index with 32 bits")
    return Spread(items, min(-(-items // THREADS), _SMS * _BLOCKS_PER_SM))
