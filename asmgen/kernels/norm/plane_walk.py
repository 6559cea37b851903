"""Walks tensors of one shape sample by sample, block of channels by block of channels, pixel by pixel, all in step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.tile.common.count_text import advance


@dataclass(frozen=True)
class Plane:
    """Where a tensor's blocks of channels lie: n_blocks in a sample, each of `runs` contiguous runs of `pixels`."""

    n_blocks: int
    first: int
    row_bytes: int
    block_bytes: int
    sample_bytes: int

    @classmethod
    def of(cls, layout: Activations) -> Plane:
        if isinstance(layout, Rows):
            vector_bytes = layout.block * layout.element_bytes
            return cls(layout.n_vectors, 0, vector_bytes, vector_bytes, layout.sample_bytes)
        return cls(layout.n_c_blocks, layout.offset_bytes(), layout.row_bytes, layout.plane_bytes, layout.sample_bytes)


class PlaneWalk:
    """A pointer a tensor, at the pixel in turn, and one a table, at the block of channels in turn.

    tensors: name -> (argument, layout). tables: name -> (argument, bytes from a block to the next, whether every sample
    has its own blocks: the walk then goes on through them, else it begins again).
    """

    def __init__(
        self,
        asm: Assembler,
        tensors: Mapping[str, tuple[int, Activations]],
        tables: Mapping[str, tuple[int, int, bool]],
    ) -> None:
        self._asm = asm
        layouts = [layout for _, layout in tensors.values()]
        whole = all(not isinstance(layout, Image) or layout.cols == layout.w for layout in layouts)
        h, w = (layouts[0].h, layouts[0].w) if isinstance(layouts[0], Image) else (1, 1)
        self.runs, self.pixels = (1, h * w) if whole else (h, w)
        self._vector_bytes = asm.isa.vector_bytes
        self._planes = {name: Plane.of(layout) for name, (_, layout) in tensors.items()}
        self._tables = {name: (block_bytes, per_sample) for name, (_, block_bytes, per_sample) in tables.items()}
        self.n_blocks = next(iter(self._planes.values())).n_blocks
        arguments = {name: at for name, (at, _) in tensors.items()} | {name: at for name, (at, *_) in tables.items()}
        self.at: dict[str, Any] = {
            name: asm.argument(index, name) for name, index in sorted(arguments.items(), key=lambda item: item[1])
        }
        self._begin, self.left = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()

    def seek(self) -> Any:
        """The pointers go to the slice's first sample, and `left` counts its samples; its first sample's number."""
        asm = self._asm
        asm.comment("the slice's first sample")
        offset = asm.gp.alloc("offset")
        for name, plane in self._planes.items():
            x86.IMUL(offset, self._begin, plane.sample_bytes)
            x86.LEA(self.at[name], [self.at[name] + offset * 1 + plane.first])
        for name, (block_bytes, per_sample) in self._tables.items():
            if per_sample:
                x86.IMUL(offset, self._begin, self.n_blocks * block_bytes)
                x86.ADD(self.at[name], offset)
        x86.SUB(self.left, self._begin)
        asm.gp.free(offset)
        return self._begin

    def row_bytes(self, name: str) -> int:
        """From a run of a tensor to the next."""
        return self._planes[name].row_bytes

    def release_begin(self) -> None:
        """Give back the register of the first sample's number."""
        self._asm.gp.free(self._begin)

    @contextmanager
    def blocks(self, name: str, what: str, count: Any) -> Iterator[None]:
        """Repeats the body for every block of channels of `count` samples; it must walk all pixels once."""
        asm = self._asm
        with asm.loop(name, what, count):
            with asm.loop("c", self.n_blocks):
                yield
                walked = self.runs > 1
                for tensor, plane in self._planes.items():
                    at = plane.row_bytes * self.runs if walked else self.pixels * self._vector_bytes
                    asm.move(self.at[tensor], plane.block_bytes - at, f"{tensor}: next block of channels")
                for table, (block_bytes, _) in self._tables.items():
                    asm.move(self.at[table], block_bytes, f"{table}: next block of channels")
            for tensor, plane in self._planes.items():
                distance = plane.sample_bytes - self.n_blocks * plane.block_bytes
                asm.move(self.at[tensor], distance, f"{tensor}: next sample")
            for table, (block_bytes, per_sample) in self._tables.items():
                if not per_sample:
                    asm.move(self.at[table], -self.n_blocks * block_bytes, f"{table}: back to the first block")

    def each_pixel(self, unroll: int, pixel: Callable[[int, int], None]) -> None:
        """pixel(i, at) for all pixels of a block: the i-th of a trip, `at` bytes from the pointers."""
        asm, width = self._asm, self._vector_bytes
        groups, rest = divmod(self.pixels, unroll)
        with asm.loop("h", self.runs):
            if groups:
                with asm.loop("w", groups):
                    for i in range(unroll):
                        pixel(i, i * width)
                    for name in self._planes:
                        asm.move(self.at[name], unroll * width, f"{name}: {advance(unroll, 'pixel')}")
            for i in range(rest):
                pixel(i, i * width)
            for name, plane in self._planes.items():
                run_bytes = plane.row_bytes if self.runs > 1 else self.pixels * width
                asm.move(self.at[name], run_bytes - groups * unroll * width, f"{name}: next row")
