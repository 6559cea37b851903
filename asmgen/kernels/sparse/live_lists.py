"""Lists of the live entries of one block of output channels over a strip of pooled pixels, on the kernel's stack.

The list of a channel is its number of entries, then for each live entry (dy != 0) the byte offset of the pixel of x
that the argmax code names, and the gradient. A chunk of pixels is staged as vectors, V channels at a time; then every
channel appends its entries without a branch: each is stored behind the list, and the count grows only by live ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common.loops import Share
from asmgen.kernels.sparse.code_offsets import CodeOffsets
from asmgen.plan.specs import Conv2dBackwardWeightsSparse
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts
from asmgen.tile.sparse.conv2d_dw_sparse import WORD_BYTES, Tile

_UNROLL = 4  # pixels
_APPEND_BYTES = 16  # entries of the channels that append together, one vector's worth of 128 bits


class LiveLists:
    """float32: an entry is one quadword, offset below and gradient above. float64: two, which lie in two planes.

    Takes its scratch memory at once (before any stack slot), registers only while `build` emits.
    """

    def __init__(self, asm: Assembler, spec: Conv2dBackwardWeightsSparse, tile: Tile) -> None:
        self.asm, self.spec, self.tile, self.dy = asm, spec, tile, spec.dy
        self._vector_bytes = asm.isa.vector_bytes
        self.stride = tile.list_bytes
        self.lists = asm.scratch(asm.lanes * self.stride)
        self._staged = asm.scratch(tile.chunk * 2 * self._vector_bytes)
        self._is_packed = tile.list_words == 1
        self._plane_bytes = tile.rows * tile.cols * WORD_BYTES

    @property
    def gradient_bytes(self) -> int:
        """From an entry's offset to its gradient."""
        return WORD_BYTES // 2 if self._is_packed else self._plane_bytes

    # walking --------------------------------------------------------------------------------------------------------

    def walk(self, list_at: Any, body: Callable[[Any, Any], None]) -> None:
        """For each entry of the list at list_at, back to front: body(register with the offset, address of dy)."""
        asm = self.asm
        left, offset = asm.gp.alloc("entries left"), asm.gp.alloc("x at entry")
        x86.MOV(left, [list_at])
        asm.note("entries of this channel, the last of them first")
        with asm.loop("entry", "live entries", left):
            entry = list_at + left * WORD_BYTES
            x86.MOV(offset.as_dword, [entry])
            body(offset, entry + self.gradient_bytes)
        asm.gp.free(left, offset)

    # building -------------------------------------------------------------------------------------------------------

    def build(self, rows: Share, n_cols: int, dy_at: Any, codes_at: Any, db: Any) -> None:
        """Fill all V lists from the strip at dy_at, codes_at (both are moved); add dy to the V sums at db, if any."""
        asm, dy = self.asm, self.dy
        for lane in range(asm.lanes):
            x86.MOV(x86.qword[self.lists + lane * self.stride], 0)
        offsets = CodeOffsets(asm, self.spec.pool, *self._pixel_steps()) if self.spec.pool else None
        base = asm.vec.alloc("offset of the window")
        vectors = [asm.vec.alloc(name) for name in ("offset of the entry", "dy", "entries", "zero")]
        total = asm.vec.alloc("sum of dy") if db is not None else None
        asm.v.zero(base)
        asm.v.zero(vectors[-1])
        if total is not None:
            asm.v.load(total, [db])
        window_row, window_column = self._window_steps()
        with rows.loop("row", on_stack=True):
            for count, n_pixels in parts(n_cols, self.tile.chunk):
                with asm.loop("chunk", count, on_stack=True):
                    asm.comment("stage offsets and gradients, V channels of a pixel at a time")
                    self._stage(n_pixels, dy_at, codes_at, offsets, base, vectors, total)
                    asm.comment("append them to the lists of their channels")
                    self._append(n_pixels)
            next_row = asm.integer_constant(f"next_row_{n_cols}", window_row - n_cols * window_column)
            asm.v.integer_add(base, base, next_row)
            asm.move(dy_at, dy.row_bytes - n_cols * dy.pixel_bytes, "dy: next row + halo, first column")
            if offsets:
                asm.move(codes_at, (dy.w - n_cols) * dy.code_pixel_bytes, "codes: next row, first column")
        if total is not None:
            asm.v.store([db], total)
            asm.vec.free(total)
        asm.vec.free(base, *vectors)
        if offsets:
            offsets.release()

    def _pixel_steps(self) -> tuple[int, int]:
        """Bytes of x from an output row, and column, to the next."""
        conv = self.spec.conv
        return conv.sh * conv.x.row_bytes, conv.sw * conv.x.pixel_bytes

    def _window_steps(self) -> tuple[int, int]:
        """Bytes of x from a window to the one below, and to the right."""
        pool, (row, column) = self.spec.pool, self._pixel_steps()
        return (row * pool.sh, column * pool.sw) if pool else (row, column)

    def _stage(
        self, n_pixels: int, dy_at: Any, codes_at: Any, offsets: CodeOffsets | None, base: Any, vectors: Any, total: Any
    ) -> None:
        asm, dy = self.asm, self.dy
        offset, gradient, entries, zero = vectors
        staged = asm.gp.alloc("staged entries")
        x86.LEA(staged, [self._staged])
        step = asm.integer_constant("next_window", self._window_steps()[1])
        for count, n_unrolled in parts(n_pixels, _UNROLL):
            with asm.loop("pixel", count):
                for pixel in range(n_unrolled):
                    asm.v.add(gradient, zero, [dy_at + pixel * dy.pixel_bytes])
                    asm.note("dy: V channels of a pixel; 0 + -0 = 0: no bits")
                    if offsets:
                        asm.v.integer_add(offset, offsets(codes_at + pixel * dy.code_pixel_bytes), base)
                    else:
                        asm.v.mov(offset, base)
                    asm.v.integer_add(base, base, step)
                    if total is not None:
                        asm.v.add(total, total, gradient)
                    self._store_staged(staged + pixel * 2 * self._vector_bytes, offset, gradient, entries)
                asm.move(staged, n_unrolled * 2 * self._vector_bytes, f"staged: {advance(n_unrolled, 'pixel')}")
                asm.move(dy_at, n_unrolled * dy.pixel_bytes, f"dy: {advance(n_unrolled, 'pixel')}")
                if offsets:
                    asm.move(codes_at, n_unrolled * dy.code_pixel_bytes, f"codes: {advance(n_unrolled, 'pixel')}")
        asm.gp.free(staged)

    def _store_staged(self, staged: Any, offset: Any, gradient: Any, entries: Any) -> None:
        """Two vectors: packed entries of alternating pairs of channels, or the offsets and the gradients."""
        asm = self.asm
        if not self._is_packed:
            asm.v.store([staged], offset)
            asm.v.store([staged + self._vector_bytes], gradient)
            return
        for half, what in enumerate(("0, 1", "2, 3")):
            asm.v.unpack(entries, offset, gradient, "PS", high=bool(half))
            asm.note(f"per 128 bits: entries of channels {what}")
            asm.v.store([staged + half * self._vector_bytes], entries)

    def _append(self, n_pixels: int) -> None:
        """The channels of 128 bits together: their counts are independent chains."""
        asm = self.asm
        staged, lists = asm.gp.alloc("staged entries"), asm.gp.alloc("lists")
        n_channels = _APPEND_BYTES // asm.element_bytes
        counts = [asm.gp.alloc(f"count[{channel}]") for channel in range(n_channels)]
        words = [asm.gp.alloc(f"word[{word}]") for word in range(self.tile.list_words)]
        x86.LEA(staged, [self._staged])
        x86.LEA(lists, [self.lists])
        with asm.loop("channels", self._vector_bytes // _APPEND_BYTES):
            for channel, count in enumerate(counts):
                x86.MOV(count, [lists + channel * self.stride])
            for pixel in range(n_pixels):
                for channel, count in enumerate(counts):
                    self._append_one(staged, pixel, lists, channel, count, words)
            for channel, count in enumerate(counts):
                x86.MOV([lists + channel * self.stride], count)
            asm.move(staged, _APPEND_BYTES, "staged: next channels")
            asm.move(lists, n_channels * self.stride, f"lists: {advance(n_channels, 'channel')}")
        asm.gp.free(staged, lists, *counts, *words)

    def _append_one(self, staged: Any, pixel: int, lists: Any, channel: int, count: Any, words: list[Any]) -> None:
        """Store the entry behind the list; the count grows by 1 - (gradient's bits < 1)."""
        pixel_at = staged + pixel * 2 * self._vector_bytes
        list_at = lists + channel * self.stride + WORD_BYTES
        if self._is_packed:
            half, place = divmod(channel, 2)
            source = pixel_at + half * self._vector_bytes + place * WORD_BYTES
            x86.MOV(words[0], [source])
            x86.MOV([list_at + count * WORD_BYTES], words[0])
            x86.CMP(x86.dword[source + WORD_BYTES // 2], 1)
        else:
            for plane, word in enumerate(words):
                x86.MOV(word, [pixel_at + plane * self._vector_bytes + channel * WORD_BYTES])
                x86.MOV([list_at + count * WORD_BYTES + plane * self._plane_bytes], word)
            x86.CMP(words[-1], 1)
        x86.SBB(count, -1)
