"""Moves one pointer a tensor through the samples of a slice, in step, over runs of vectors (segments.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.elementwise.segments import Segment
from asmgen.tile.common.count_text import advance


@dataclass(frozen=True)
class Part:
    """A segment of a sample, `unroll` vectors to a trip; body(at) emits the vector `at` bytes from the pointers."""

    segment: Segment
    unroll: int
    body: Callable[[int], None]


class RunWalk:
    """A pointer for each argument from rdi on.

    tensors: name -> sample_bytes. The body of a Part reads `pointers`; they are at the first vector of a trip.
    """

    def __init__(self, asm: Assembler, tensors: dict[str, int]) -> None:
        self._asm, self._sample_bytes = asm, tuple(tensors.values())
        self.pointers = [asm.argument(i, name) for i, name in enumerate(tensors)]
        self._begin, self._left = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()

    def samples(self, parts: Sequence[Part]) -> None:
        """The loops: all parts of sample `begin`, then of the next, ..."""
        asm, start = self._asm, parts[0].segment.first
        asm.comment("the first element of the slice's first sample")
        offset = asm.gp.alloc("offset")
        for pointer, sample_bytes, first in zip(self.pointers, self._sample_bytes, start, strict=True):
            x86.IMUL(offset, self._begin, sample_bytes)
            x86.LEA(pointer, [pointer + offset * 1 + first])
        x86.SUB(self._left, self._begin)
        asm.gp.free(offset, self._begin)
        with asm.loop("n", "samples in the slice", self._left):
            at = start
            for part in parts:
                self._move(part.segment.first, at, "next segment")
                self._runs(part)
                at = part.segment.end()
            self._move([first + size for first, size in zip(start, self._sample_bytes, strict=True)], at, "next sample")

    def _move(self, to: Sequence[int], now: Sequence[int], where: str) -> None:
        """Pointers that are at `now` go to `to`, which is called `where`."""
        for pointer, target, at in zip(self.pointers, to, now, strict=True):
            self._asm.move(pointer, target - at, f"{self._asm.name_of(pointer)}: {where}")

    def _runs(self, part: Part) -> None:
        asm, segment, width = self._asm, part.segment, self._asm.isa.vector_bytes
        trips, rest = divmod(segment.vectors, part.unroll)
        start = [0] * len(self.pointers)
        trip, walked = ([vectors * width] * len(start) for vectors in (part.unroll, trips * part.unroll))
        with asm.loop("c", segment.blocks):
            with asm.loop("h", segment.rows):
                if trips:
                    with asm.loop("w", trips):
                        for u in range(part.unroll):
                            part.body(u * width)
                        self._move(trip, start, advance(part.unroll, "vector"))
                for u in range(rest):
                    part.body(u * width)
                self._move(segment.row_steps, walked, "next row")
            below = [segment.rows * step for step in segment.row_steps]
            self._move(segment.block_steps, below, "next block of channels")
