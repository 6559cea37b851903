"""The live entries of a pooled gradient, as lists for the sparse input gradient (layout: asmgen/plan/live_list.py).

For each set of output channels, row, pixel and position of the pooling window, one u64 with a bit for each channel
whose gradient is not zero and whose code names the position; beside it, the gradients of the set's channels side by
side. Behind large windows the codes are copied likewise, and a pixel has one mask. Nothing is compacted: finding the
next set bit costs the reader no more than stepping through a list, and the masks come out of comparisons without a
branch.

A row's channels are taken 16 at a time, a word of every mask.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.live_list import MASK_BYTES
from asmgen.plan.specs import LiveEntries, dtype_tag
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts

_WORD = 16  # channels
_UNROLL_BLOCKS = 8  # comparisons with codes that one iteration has at least, where a row is long enough


def emit(spec: LiveEntries, isa: Isa) -> Listing:
    """The kernel of one shape: rdi dy, rsi codes (unread without a pool), rdx list, slice of samples."""
    return _Kernel(spec, isa).emit()


class _Kernel:
    """Registers and loops of one kernel; the pointers advance together, pixel by pixel."""

    def __init__(self, spec: LiveEntries, isa: Isa) -> None:
        self.spec, self.live, self.dy_layout = spec, spec.live, spec.dy
        self.asm = Assembler(isa, spec.dy.dtype, spec.symbol(isa.name))

    def emit(self) -> Listing:
        asm, live, dy = self.asm, self.live, self.dy_layout
        with asm:
            n_samples = self._take_registers()
            with asm.loop("n", "end - begin", n_samples):
                for count, n_blocks in parts(dy.n_c_blocks, live.set_blocks):
                    with asm.loop("oc", count, on_stack=True):
                        self._channel_set(n_blocks)
                asm.move(self.dy, dy.sample_bytes - dy.n_c_blocks * dy.plane_bytes, "dy: next sample")
                asm.move(
                    self.gradients,
                    live.sample_bytes - live.n_channel_sets * dy.h * live.gradient_row_bytes,
                    "gradients: next sample's list",
                )
                asm.move(
                    self.masks,
                    live.sample_bytes - live.n_channel_sets * dy.h * live.mask_row_bytes,
                    "masks: next sample's list",
                )
                if live.has_codes:
                    asm.move(
                        self.list_codes,
                        live.sample_bytes - live.n_channel_sets * dy.h * live.code_row_bytes,
                        "codes of the list: next sample's",
                    )
        return asm.finish(self._facts())

    def _take_registers(self) -> Any:
        """Names the registers and moves the pointers to the slice's first sample; returns the number of samples."""
        asm, live, dy = self.asm, self.live, self.dy_layout
        self.dy, self.codes = asm.argument(0, "dy"), asm.argument(1, "codes")
        self.gradients = asm.argument(2, "list: gradients")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.masks, self.bits = asm.gp.alloc("list: masks"), asm.gp.alloc("mask")
        self.block_bits, self.live_bits = asm.gp.alloc("mask of a block"), asm.gp.alloc("channels that are not zero")
        asm.comment("the slice's first sample")
        x86.SUB(end, begin)
        for pointer, sample_bytes in (
            (self.dy, dy.sample_bytes),
            (self.codes, dy.code_sample_bytes),
            (self.gradients, live.sample_bytes),
        ):
            x86.IMUL(self.bits, begin, sample_bytes)
            x86.ADD(pointer, self.bits)
        asm.move(self.dy, dy.offset_bytes(), "dy: to its first pixel, past the halo")
        x86.LEA(self.masks, [self.gradients + live.masks_offset_bytes])
        asm.gp.free(begin)
        self.list_codes: Any = asm.gp.alloc("list: codes") if live.has_codes else None
        if live.has_codes:
            x86.LEA(self.list_codes, [self.gradients + live.codes_offset_bytes])
        self.zero, self.comparison = asm.vec.alloc("zero"), asm.v.mask_alloc("comparison")
        self.gradient = asm.vec.alloc("gradients of a block")
        asm.v.zero(self.zero)
        return end

    def _channel_set(self, n_blocks: int) -> None:
        """The lists of one channel set; the pointers end at the next."""
        asm, live, dy = self.asm, self.live, self.dy_layout
        most = max(1, _WORD // dy.block)
        first, rest = min(most, n_blocks), max(0, n_blocks - most)
        asm.comment(f"a set of {n_blocks} channel blocks")
        with asm.loop("h", dy.h, on_stack=True):
            for count, n, is_first in ((1, first, True), *((count, n, False) for count, n in parts(rest, most))):
                with asm.loop("word", count, on_stack=True):
                    self._row(n, is_first)
                    self._skip_blocks(n)
                    asm.move(self.masks, _WORD // 8, "masks: next word")
            self._skip_blocks(-n_blocks)
            asm.move(self.masks, -len(range(0, n_blocks, most)) * _WORD // 8, "masks: back to the pixel's first word")
            asm.move(self.dy, dy.row_bytes, "dy: next row + halo")
            asm.move(self.codes, dy.w * dy.code_pixel_bytes, "codes: next row")
            asm.move(self.gradients, live.gradient_row_bytes, "gradients: next row")
            asm.move(self.masks, live.mask_row_bytes, "masks: next row")
            asm.move(self.list_codes, live.code_row_bytes, "codes of the list: next row")
        asm.move(
            self.dy,
            n_blocks * dy.plane_bytes - dy.h * dy.row_bytes,
            f"dy: {advance(n_blocks, 'block')} of channels, first row",
        )
        asm.move(
            self.codes,
            (n_blocks - 1) * dy.h * dy.w * dy.code_pixel_bytes,
            f"codes: {advance(n_blocks, 'block')} of channels",
        )

    def _skip_blocks(self, n: int) -> None:
        dy = self.dy_layout
        self.asm.move(self.dy, n * dy.plane_bytes, f"dy: {advance(n, 'block')} of channels")
        self.asm.move(self.codes, n * dy.h * dy.w * dy.code_pixel_bytes, f"codes: {advance(n, 'block')} of channels")
        self.asm.move(self.gradients, n * dy.pixel_bytes, f"gradients: {advance(n, 'block')} of channels")
        if self.live.has_codes:
            self.asm.move(
                self.list_codes, n * dy.code_pixel_bytes, f"codes of the list: {advance(n, 'block')} of channels"
            )

    def _row(self, n_blocks: int, is_first: bool) -> None:
        """`n_blocks` channel blocks of a row; the pointers end where they began."""
        asm, live, dy = self.asm, self.live, self.dy_layout
        unroll = max(1, _UNROLL_BLOCKS // (n_blocks * live.n_masks))
        for count, n in parts(dy.w, unroll):
            with asm.loop("w", count):
                for column in range(n):
                    self._pixel(column, n_blocks, is_first)
                self._skip_pixels(n)
        self._skip_pixels(-dy.w)

    def _skip_pixels(self, n: int) -> None:
        self.asm.move(self.dy, n * self.dy_layout.pixel_bytes, f"dy: {advance(n, 'pixel')}")
        self.asm.move(self.codes, n * self.dy_layout.code_pixel_bytes, f"codes: {advance(n, 'pixel')}")
        self.asm.move(self.gradients, n * self.live.gradient_pixel_bytes, f"gradients: {advance(n, 'pixel')}")
        self.asm.move(self.masks, n * self.live.mask_pixel_bytes, f"masks: {advance(n, 'pixel')}")
        self.asm.move(self.list_codes, n * self.live.code_pixel_bytes, f"codes of the list: {advance(n, 'pixel')}")

    def _pixel(self, column: int, n_blocks: int, is_first: bool) -> None:
        """`n_blocks` channel blocks of the pixel `column` pixels ahead: gradients and one word of every mask."""
        asm, live, dy = self.asm, self.live, self.dy_layout
        for block in reversed(range(n_blocks)):
            asm.v.load(self.gradient, [self.dy + block * dy.plane_bytes + column * dy.pixel_bytes])
            asm.v.store([self.gradients + column * live.gradient_pixel_bytes + block * dy.pixel_bytes], self.gradient)
            asm.v.not_equal(self.comparison, self.gradient, self.zero)
            self._append(self.live_bits, block == n_blocks - 1)
        if self.spec.pool is None or live.has_codes:
            self._store(self.live_bits, column * live.mask_pixel_bytes, is_first)
            if live.has_codes:
                self._copy_codes(column, n_blocks)
            return
        codes = [asm.vec.alloc(f"codes[{block}]") for block in range(n_blocks)]
        for block, register in enumerate(codes):
            code_bytes = block * dy.h * dy.w * dy.code_pixel_bytes + column * dy.code_pixel_bytes
            asm.v.load_bytes(register, self.codes + code_bytes)
        asm.note("codes: V bytes to integer lanes")
        for position in range(live.n_positions):
            for block in reversed(range(n_blocks)):
                named = self._named(position)
                asm.v.integer_equal(self.comparison, codes[block], named)
                self._append(self.bits, block == n_blocks - 1)
            x86.AND(self.bits.as_dword, self.live_bits.as_dword)
            self._store(self.bits, column * live.mask_pixel_bytes + position * MASK_BYTES, is_first)
        asm.vec.free(*codes)

    def _copy_codes(self, column: int, n_blocks: int) -> None:
        """V codes of each of `n_blocks` channel blocks, side by side."""
        dy = self.dy_layout
        for block in range(n_blocks):
            source = block * dy.h * dy.w * dy.code_pixel_bytes + column * dy.code_pixel_bytes
            target = column * self.live.code_pixel_bytes + block * dy.code_pixel_bytes
            size = min(8, dy.code_pixel_bytes)
            sized, register = {8: (x86.qword, "as_qword"), 4: (x86.dword, "as_dword"), 2: (x86.word, "as_word")}[size]
            part = getattr(self.bits, register)
            for at in range(0, dy.code_pixel_bytes, size):
                x86.MOV(part, sized[self.codes + source + at])
                x86.MOV(sized[self.list_codes + target + at], part)

    def _named(self, position: int) -> Any:
        """The position's number in integer lanes."""
        note = f"position {position}"
        return self.asm.integer_constant(f"position_{position}", position, note) if position else self.zero

    def _append(self, word: Any, is_first: bool) -> None:
        """word = word << V | the comparison's lanes; is_first: there is nothing in word yet."""
        if is_first:
            self.asm.v.sign_bits(word.as_dword, self.comparison)
            return
        x86.SHL(word.as_dword, self.dy_layout.block)
        self.asm.v.sign_bits(self.block_bits.as_dword, self.comparison)
        x86.OR(word.as_dword, self.block_bits.as_dword)

    def _store(self, word: Any, offset: int, is_first: bool) -> None:
        """The mask's first word is stored with zeros in all that follow."""
        if is_first:
            x86.MOV([self.masks + offset], word)
        else:
            x86.MOV(x86.word[self.masks + offset], word.as_word)

    def _facts(self) -> Facts:
        spec, live, dy = self.spec, self.live, self.dy_layout
        ctype = dtype_tag(dy.dtype)
        codes = f"[{dy.n}][{dy.n_c_blocks}][{dy.h}][{dy.w}][{dy.block}]"
        named = ", p = 0"
        if spec.pool and not live.has_codes:
            named = f" and codes[n,oc,h,w] == p, p < {live.n_positions}"
        copied = "; gradients = dy" + (", codes = codes" if live.has_codes else "")
        return Facts(
            title=f"{self.spec.text}  {dy.n} x c{dy.c} h{dy.h} w{dy.w}",
            source="asmgen/kernels/sparse/live_entries.py",
            formula=(f"bit oc of mask[n,h,w,p] = dy[n,oc,h,w] != 0{named}{copied}",),
            arguments=(
                Argument("rdi", "dy", ctype, str(dy), "in"),
                Argument("rsi", "codes", "u8", codes, "in", "" if spec.pool else "not read"),
                Argument("rdx", "list", ctype, str(live), "out"),
            ),
            slice_unit=f"samples, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=dy.size_bytes + (dy.n * dy.code_sample_bytes if spec.pool else 0),
            bytes_written=live.size_bytes,
            tile=f"{_WORD} channels of a pixel: one word of "
            + ("its mask, and their codes" if live.has_codes else f"each of its {live.n_positions} masks"),
            notes=(
                f"sets of {live.set_channels} channels",
                f"a list's masks lie {live.masks_offset_bytes} B behind its gradients; lists are {live.sample_bytes} B",
                *([f"its codes lie {live.codes_offset_bytes} B behind its gradients"] if live.has_codes else []),
            ),
        )
