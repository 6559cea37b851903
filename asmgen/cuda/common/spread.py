"""How independent pieces of work are spread over a grid of threads."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import Launch
from asmgen.plan.layout import ELEMENT_BYTES, Image

THREADS = 256  # a block of kernels that stream
_SMS = 132  # of an H100 or H200; smaller GPUs run the same grid in more waves
_BLOCKS_PER_SM = 8  # 2048 threads

VEC_BYTES = 16


@dataclass(frozen=True)
class Spread:
    """`items` over `blocks` of THREADS; each thread takes items thread, thread + all threads, ..."""

    items: int
    blocks: int
    threads: int = THREADS

    @property
    def trips(self) -> int:
        """Items of the first thread, which has the most."""
        return -(-self.items // (self.blocks * self.threads))

    @property
    def loops(self) -> tuple[str, ...]:
        return (f"block ({self.blocks}x), thread ({self.threads}x)", f"  item ({self.trips}x, in steps of the grid)")

    def launch(self, kernel: str, args: tuple[str, ...]) -> Launch:
        return Launch(kernel, (self.blocks, 1, 1), self.threads, 0, args)


def spread(items: int) -> Spread:
    """One item a thread while that fits the GPU at once, then a loop.

    Raises ReachError where an item's number would not fit 32 bits.
    """
    check_size(items + _SMS * _BLOCKS_PER_SM * THREADS)
    return Spread(items, min(-(-items // THREADS), _SMS * _BLOCKS_PER_SM))


@dataclass(frozen=True)
class Pixels:
    """The items of an image's interior: `vecs` of 16 bytes a pixel, `columns`, `rows`, then `planes` of all samples."""

    vecs: int
    columns: int
    rows: int
    planes: int

    @staticmethod
    def of(image: Image) -> Pixels:
        return Pixels(image.pixel_bytes // VEC_BYTES, image.w, image.h, image.n * image.n_c_blocks)

    @property
    def items(self) -> int:
        return self.vecs * self.columns * self.rows * self.planes


def vec_lanes(dtype: str) -> int:
    """Elements of 16 bytes."""
    return VEC_BYTES // ELEMENT_BYTES[dtype]
