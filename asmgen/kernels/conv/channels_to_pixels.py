"""Stores vectors of pixels, one for each channel, as pixels of channels: an image's layout, and its codes'.

Shuffles turn a square of channels x pixels within every 128 bits, so 16 bytes of a pixel are stored at a time. Channels
that do not exist are zeros and cost no shuffle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.plan.layout import Image
from asmgen.tile.conv.conv2d_fwd_pixel_lanes import PART_BYTES

_WORD_CODES = 4  # codes in a 32-bit lane


class PixelStore:
    """Between `open` and `close`, one vector of pixels: `channel` after `channel`."""

    def __init__(self, asm: Assembler, y: Image) -> None:
        self._asm, self._y = asm, y
        self._part = PART_BYTES // y.element_bytes

    def open(self, y: Any, codes: Any, first_pixel: int, order: Sequence[int], n_pixels: int) -> None:
        """y, codes (or None): registers at the first channel of the tile's first pixel.

        order: which pixel, counted from `first_pixel`, is in which lane; those from n_pixels on are not stored.
        """
        image = self._y
        self._y_at = y + first_pixel * image.pixel_bytes
        self._codes_at: Any = None if codes is None else codes + first_pixel * image.code_pixel_bytes
        self._lane_of = {pixel: lane for lane, pixel in enumerate(order) if pixel < n_pixels}
        self._n_channels = 0
        self._values: list[Any] = []
        self._words: list[Any] = []
        self._zero: Any = None

    def channel(self, value: Any, code: Any) -> None:
        """The next channel: registers, which are freed once they are stored."""
        if code is not None:
            self._add_code(code)
        self._n_channels += 1
        self._values.append(value)
        if len(self._values) == self._part:
            self._store_values()

    def close(self, pad_lanes: int) -> None:
        """pad_lanes: behind the last channel, to be stored as zeros."""
        asm = self._asm
        n_bytes = (self._n_channels + pad_lanes) * self._y.element_bytes
        if self._values:
            self._values += [self._zeros()] * (self._part - len(self._values))
            self._store_values()
        self._store_zeros(-(-self._n_channels // self._part) * PART_BYTES, n_bytes)
        if self._codes_at is not None:
            asm.comment("codes")
            if asm.element_bytes == 4:
                self._words += [self._zeros()] * ((self._n_channels + pad_lanes) // _WORD_CODES - len(self._words))
                self._store_words()
            else:
                self._store_pieces(self._words, asm.element_bytes, 0, self._n_channels + pad_lanes)
                asm.vec.free(*self._words)
        if self._zero is not None:
            asm.vec.free(self._zero)

    def _zeros(self) -> Any:
        if self._zero is None:
            self._zero = self._asm.vec.alloc("zero")
            self._asm.v.zero(self._zero)
        return self._zero

    # values ----------------------------------------------------------------------------------------------------------

    def _store_values(self) -> None:
        """The last channels: 16 bytes of every pixel."""
        self._asm.comment("channels in lanes become pixels")
        at = (self._n_channels - 1) // self._part * PART_BYTES
        squares = self._turned(self._values)
        for pixel in sorted(self._lane_of):
            part, m = divmod(self._lane_of[pixel], self._part)
            self._asm.v.store_part([self._y_at + pixel * self._y.pixel_bytes + at], squares[m], part)
        self._free(squares)
        self._values = []

    def _store_zeros(self, begin: int, end: int) -> None:
        """Bytes [begin, end) of every pixel, whole parts."""
        if begin >= end:
            return
        zero = self._zeros()
        for pixel in sorted(self._lane_of):
            at = begin
            while at < end:
                view = next(view for view in (zero, zero.as_ymm, zero.as_xmm) if view.size <= end - at)
                self._asm.v.store([self._y_at + pixel * self._y.pixel_bytes + at], view)
                at += view.size

    # codes -----------------------------------------------------------------------------------------------------------

    def _add_code(self, code: Any) -> None:
        """Codes of several channels side by side in an integer lane, the first in its lowest byte."""
        v = self._asm.v
        byte = self._n_channels % self._asm.element_bytes
        if byte == 0:
            self._words.append(code)
            return
        v.shift_left(code, code, 8 * byte)
        v.or_(self._words[-1], self._words[-1], code)
        self._asm.vec.free(code)

    def _store_words(self) -> None:
        """Of float32: four, two or one word of a pixel at a time."""
        first = 0
        while first < len(self._words):
            count = next(size for size in (4, 2, 1) if size <= len(self._words) - first)
            words = self._words[first : first + count]
            if count == 4:
                words = self._turned(words)
            elif count == 2:
                words = list(self._interleave(words[0], words[1], "PS"))
            size = count * _WORD_CODES
            self._store_pieces(words, size, first * _WORD_CODES, size)
            self._free(words)
            first += count

    def _store_pieces(self, registers: list[Any], pitch: int, at: int, n_bytes: int) -> None:
        """n_bytes of every pixel, from byte `at` of its codes on.

        A part's pixels lie in `registers`, one after the other, `pitch` bytes apart and as many as a part holds.
        """
        v, asm = self._asm.v, self._asm
        per_part = PART_BYTES // pitch
        places = sorted((lane // self._part, lane % self._part, pixel) for pixel, lane in self._lane_of.items())
        temp: Any = None
        held: Any = None
        for part, m, pixel in places:
            address = self._codes_at + pixel * self._y.code_pixel_bytes + at
            register = registers[m // per_part]
            if n_bytes == PART_BYTES:
                v.store_part([address], register, part)
                continue
            if part and held != (register, part):
                temp = temp or asm.vec.alloc("part")
                held = register, part
                v.load_part(temp, register, part)
            source = temp.as_xmm if part else register.as_xmm
            for byte, size in _powers(n_bytes):
                v.store_piece(address + byte, source, m % per_part * pitch + byte, size)
        if temp is not None:
            asm.vec.free(temp)

    # shuffles --------------------------------------------------------------------------------------------------------

    def _turned(self, vectors: list[Any]) -> list[Any]:
        """Result m has, in every part, the m-th lane of all vectors, side by side. Frees the vectors."""
        if len(vectors) == 2:
            return list(self._interleave(vectors[0], vectors[1], "PD"))
        a, b, c, d = vectors
        (low_ab, high_ab), (low_cd, high_cd) = self._interleave(a, b, "PS"), self._interleave(c, d, "PS")
        return [*self._interleave(low_ab, low_cd, "PD"), *self._interleave(high_ab, high_cd, "PD")]

    def _interleave(self, a: Any, b: Any, granule: str) -> tuple[Any, Any]:
        """Per part, the lower and the upper halves of a and b, interleaved. Frees b; a becomes a result."""
        v, zero = self._asm.v, self._zero
        if zero is not None and a == zero and b == zero:
            return zero, zero
        low = self._asm.vec.alloc("turned")
        v.unpack(low, a, b, granule, high=False)
        v.unpack(a, a, b, granule, high=True)
        if zero is None or b != zero:
            self._asm.vec.free(b)
        return low, a

    def _free(self, registers: list[Any]) -> None:
        self._asm.vec.free(*(register for register in registers if register != self._zero))


def _powers(n_bytes: int) -> Iterator[tuple[int, int]]:
    """(first byte, bytes) of pieces of 8, 4 and 2 bytes."""
    at = 0
    while at < n_bytes:
        size = next(size for size in (8, 4, 2) if size <= n_bytes - at)
        yield at, size
        at += size
