"""Runs of contiguous pixels, u8 to numbers: dst = pixel * scale[c] + shift[c].

A run is covered by vectors; its ragged end by one more vector that overlaps the one before (the same pixels, the same
values), so that no byte outside the run is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.tile.common.count_text import advance

UNROLL = 4  # vectors per trip
_VIEWS = {16: "as_xmm", 32: "as_ymm", 64: "as_zmm"}
_SMALLEST_VECTOR_BYTES = min(_VIEWS)


class PixelRuns:
    """Emits runs of `n_pixels`. Scale and shift of the channel at hand are in registers; all channels' in a table.

    piece: pixels of a vector, 1 where a run is shorter than the smallest.
    """

    def __init__(self, asm: Assembler, n_pixels: int, scale: Sequence[float], shift: Sequence[float]) -> None:
        self._asm, self._n_pixels, self._constants = asm, n_pixels, list(zip(scale, shift, strict=True))
        self.is_uniform = len(set(self._constants)) == 1
        self.piece = asm.lanes
        while self.piece > n_pixels:
            self.piece //= 2
        if self.piece * asm.element_bytes < _SMALLEST_VECTOR_BYTES:
            self.piece = 1

    # scale and shift -----------------------------------------------------------------------------------------------

    def take_registers(self) -> None:
        """Take the registers, and load scale and shift where all channels share them."""
        asm = self._asm
        self._scale, self._shift = asm.vec.alloc("scale"), asm.vec.alloc("shift")
        self._vectors = [asm.vec.alloc(f"pixels {u}") for u in range(UNROLL)]
        if self.is_uniform:
            asm.v.load(self._scale, asm.vector_constant("scale", self._constants[0][0]))
            asm.v.load(self._shift, asm.vector_constant("shift", self._constants[0][1]))
            return
        pairs = [value for pair in self._constants for value in pair]
        padding = [0.0] * (-len(pairs) % asm.lanes)
        self._pair = asm.gp.alloc("scale, shift of the channel")
        self._table = asm.vector_constant("scale_shift", pairs + padding, "scale, shift per channel")

    def release_registers(self) -> None:
        self._asm.vec.free(self._scale, self._shift, *self._vectors)
        if not self.is_uniform:
            self._asm.gp.free(self._pair)

    def first_channel(self) -> None:
        """Before a loop over the channels."""
        if not self.is_uniform:
            x86.LEA(self._pair, self._table)

    def next_channel(self) -> None:
        """At the top of each pass of that loop."""
        if not self.is_uniform:
            asm = self._asm
            asm.v.broadcast(self._scale, [self._pair])
            asm.v.broadcast(self._shift, [self._pair + asm.element_bytes])
            asm.move(self._pair, 2 * asm.element_bytes, "next channel's scale and shift")

    # runs ----------------------------------------------------------------------------------------------------------

    def convert(self, src: Any, dst: Any) -> int:
        """One run from src to dst, the registers at its first pixel. Gives the pixels that both have moved on."""

        def pixels(register: Any, first: int) -> None:
            source, target = [src + first], [dst + first * self._asm.element_bytes]
            self._pixels(register, source, target)

        return self._cover((src, dst), pixels)

    def clear(self, dst: Any) -> int:
        """One run of zeros at dst. Gives the pixels that it has moved on."""
        zero = self._vectors[0]
        self._asm.v.zero(zero)

        def pixels(_: Any, first: int) -> None:
            self._store([dst + first * self._asm.element_bytes], zero)

        return self._cover((None, dst), pixels)

    def _cover(self, pointers: tuple[Any, Any], pixels: Callable[[Any, int], None]) -> int:
        """`pixels(register, first)` for every piece of a run, by a loop that moves the pointers (src or None, dst)."""
        asm, n_pixels, piece = self._asm, self._n_pixels, self.piece
        src, dst = pointers
        n_trips, rest = divmod(n_pixels, UNROLL * piece)
        if n_trips:
            with asm.loop("w", n_trips):
                for u in range(UNROLL):
                    pixels(self._vectors[u], u * piece)
                if src is not None:
                    asm.move(src, UNROLL * piece, f"pixels: {advance(UNROLL * piece, 'pixel')}")
                asm.move(dst, UNROLL * piece * asm.element_bytes, f"numbers: {advance(UNROLL * piece, 'element')}")
        for u in range(rest // piece):
            pixels(self._vectors[u], u * piece)
        if rest % piece:
            pixels(self._vectors[-1], rest - piece)
            asm.note("ragged end: overlaps the pixels before it")
        return n_pixels - rest

    def _pixels(self, register: Any, source: Any, target: Any) -> None:
        """`piece` pixels: convert, scale, store."""
        v = self._asm.v
        if self.piece == 1:
            pixels = register.as_xmm
            v.from_u8_scalar(pixels, source)
            v.mul_add(pixels, self._scale.as_xmm, self._shift.as_xmm)
        else:
            pixels = self._view(register)
            v.from_u8(pixels, source)
            v.mul_add(pixels, self._view(self._scale), self._view(self._shift))
        self._store(target, register)

    def _store(self, target: Any, register: Any) -> None:
        if self.piece == 1:
            self._asm.v.store_scalar(target, register.as_xmm)
        else:
            self._asm.v.store(target, self._view(register))

    def _view(self, register: Any) -> Any:
        """As much of a register as holds a piece."""
        return attrgetter(_VIEWS[self.piece * self._asm.element_bytes])(register)

    def describe(self) -> str:
        """How a run is cut."""
        n_trips, rest = divmod(self._n_pixels, UNROLL * self.piece)
        n_rest = -(-rest // self.piece)
        counts = ([f"{n_trips} x {UNROLL}"] if n_trips else []) + ([str(n_rest)] if n_rest else [])
        unit = "single pixels" if self.piece == 1 else f"vectors of {self.piece} pixels"
        return f"a run in {unit}: {' + '.join(counts)}"
