"""What the kernels share that work on channels: tables by block of channels, sums over the samples present."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa


def to_block(asm: Assembler, begin: Any, block_bytes: int, *pointers: Any) -> None:
    """Pointers (None: there is none) at the first block go to block `begin`."""
    offset = asm.gp.alloc("offset")
    x86.IMUL(offset, begin, block_bytes)
    for pointer in pointers:
        if pointer is not None:
            x86.ADD(pointer, offset)
            asm.note(f"{asm.name_of(pointer)}: the slice's first block")
    asm.gp.free(offset)


def next_block(asm: Assembler, block_bytes: int, *pointers: Any) -> None:
    """Pointers (None: there is none) go to the next block of channels."""
    for pointer in pointers:
        if pointer is not None:
            asm.move(pointer, block_bytes, f"{asm.name_of(pointer)}: next block of channels")


@contextmanager
def samples_present(asm: Assembler, name: str, present: Any, at: Any, start: Any, sample_bytes: int) -> Iterator[None]:
    """Repeats the body for every sample that is there: `at` goes from `start` on, sample by sample."""
    count = asm.gp.alloc("samples left")
    x86.MOV(count, present)
    x86.MOV(at, start)
    with asm.loop(name, "samples present", count):
        yield
        asm.move(at, sample_bytes, "next sample")
    asm.gp.free(count)


def n_sums(isa: Isa, pixels: int) -> int:
    """Sums in flight, which hide the latency of an addition: a power of two, no more than a run has pixels."""
    return min(4 if isa.n_vregs > 16 else 2, 1 << pixels.bit_length() - 1)


def tree(asm: Assembler, sums: list[Any]) -> None:
    """sums[0] = the sum of all: the upper half to the lower one until one is left."""
    n = len(sums)
    while n > 1:
        n //= 2
        for i in range(n):
            asm.v.add(sums[i], sums[i], sums[i + n])
