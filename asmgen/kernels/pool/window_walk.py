"""What the kernels on pooling windows share: pointers that walk images in step, and a gradient spread over a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.plan.layout import Image
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts


@dataclass(frozen=True)
class Cursor:
    """A pointer that follows a walk over `image`, sh rows and sw columns to a step."""

    asm: Assembler
    pointer: Any
    image: Image
    sh: int = 1
    sw: int = 1

    def start(self, begin: Any, temp: Any) -> None:
        """From the tensor's first byte to pixel (0, 0) of sample `begin`."""
        x86.IMUL(temp, begin, self.image.sample_bytes)
        x86.ADD(self.pointer, temp)
        self._move(self.image.offset_bytes(), "to its first pixel, past the halo")

    def at(self, column: int, h: int = 0, w: int = 0) -> Any:
        """The address of pixel (h, w) relative to the step `column` steps ahead."""
        image = self.image
        return self.pointer + (image.offset_bytes(h=h, w=w + column * self.sw) - image.offset_bytes())

    def columns(self, n: int) -> None:
        self._move(n * self.sw * self.image.pixel_bytes, advance(n * self.sw, "pixel"))

    def end_row(self, n_columns: int) -> None:
        to_row = self.sh * self.image.row_bytes - n_columns * self.sw * self.image.pixel_bytes
        self._move(to_row, f"{advance(self.sh, 'row')} + halo, first column")

    def end_plane(self, n_rows: int) -> None:
        to_plane = self.image.plane_bytes - n_rows * self.sh * self.image.row_bytes
        self._move(to_plane, "next block of channels, first row")

    def end_sample(self) -> None:
        self._move(self.image.sample_bytes - self.image.n_c_blocks * self.image.plane_bytes, "next sample")

    def _move(self, distance: int, where: str) -> None:
        self.asm.move(self.pointer, distance, f"{self.asm.name_of(self.pointer)}: {where}")


@dataclass(frozen=True)
class CodeCursor:
    """A pointer that follows the walk over a pooled image in its u8 codes: they lie in the order of the walk."""

    asm: Assembler
    pointer: Any
    image: Image

    def start(self, begin: Any, temp: Any) -> None:
        x86.IMUL(temp, begin, self.image.code_sample_bytes)
        x86.ADD(self.pointer, temp)

    def at(self, column: int) -> Any:
        return self.pointer + column * self.image.code_pixel_bytes

    def columns(self, n: int) -> None:
        self.asm.move(self.pointer, n * self.image.code_pixel_bytes, f"codes: {advance(n, 'pixel')}")

    def end_row(self, n_columns: int) -> None:
        pass

    def end_plane(self, n_rows: int) -> None:
        pass

    def end_sample(self) -> None:
        pass


def walk(
    asm: Assembler,
    pooled: Image,
    cursors: Sequence[Cursor | CodeCursor],
    unroll: int,
    pixels: Callable[[int], None],
    plane: Callable[[], None] | None = None,
) -> None:
    """Visit the pooled pixels of samples [begin, end): `pixels(n)` handles n of a row, `plane()` opens each plane.

    Takes begin and end from their argument registers; the other arguments must have been named.
    """
    begin, n_samples = asm.argument(4, "begin"), asm.argument(5, "samples left")
    asm.release_arguments()
    temp = asm.gp.alloc("temporary")
    x86.SUB(n_samples, begin)
    asm.comment("the slice's first sample")
    for cursor in cursors:
        cursor.start(begin, temp)
    asm.gp.free(begin, temp)
    with asm.loop("n", "end - begin", n_samples):
        with asm.loop("c", pooled.n_c_blocks):
            if plane is not None:
                plane()
            with asm.loop("h", pooled.h):
                for count, n in parts(pooled.w, unroll):
                    with asm.loop("w", count):
                        pixels(n)
                        for cursor in cursors:
                            cursor.columns(n)
                for cursor in cursors:
                    cursor.end_row(pooled.w)
            for cursor in cursors:
                cursor.end_plane(pooled.h)
        for cursor in cursors:
            cursor.end_sample()


class Spreader:
    """Writes a pixel's gradient to every position of its window: where the code says so, elsewhere zero.

    Holds its constants and working registers for the whole kernel.
    """

    def __init__(self, asm: Assembler, *, is_max: bool, has_codes: bool, alpha: float, accumulate: bool) -> None:
        self._asm, self._is_max, self._accumulate = asm, is_max, accumulate
        self._part = asm.vec.alloc("gradient of a position")
        self._has_codes, self._alpha = has_codes, alpha
        if has_codes:
            self._codes, self._mask = asm.vec.alloc("codes"), asm.v.mask_alloc("is the position")
            self._one = asm.vec.alloc("1 in integer lanes")
            asm.v.load(self._one, asm.integer_constant("integer_one", 1))
        if is_max:
            self._zero = asm.vec.alloc("0 in integer lanes")
            asm.v.zero(self._zero)
        elif has_codes:
            self._bit, self._slope = asm.vec.alloc("live bit"), asm.vec.alloc("gradient where not live")

    def __call__(self, gradient: Any, codes: Any, targets: Sequence[Any]) -> None:
        """targets: the addresses of the window's positions in row-major order; codes: the address of the pixel's."""
        asm, v = self._asm, self._asm.v
        if self._has_codes:
            v.load_bytes(self._codes, codes)
            asm.note("codes: V bytes to integer lanes")
        if self._has_codes and not self._is_max and self._alpha:
            v.mul(self._slope, gradient, asm.vector_constant("alpha", self._alpha))
        for position, target in enumerate(targets):
            part = gradient
            if self._is_max:
                part = self._keep_maximum(gradient, position)
            elif self._has_codes:
                part = self._keep_live(gradient, position)
            if self._accumulate:
                v.add(self._part, part, [target])
                part = self._part
            v.store([target], part)

    def _keep_maximum(self, gradient: Any, position: int) -> Any:
        """codes counts down, so that it is 0 at the maximum's position."""
        v = self._asm.v
        if position:
            v.integer_sub(self._codes, self._codes, self._one)
        v.integer_equal(self._mask, self._codes, self._zero)
        v.keep(self._part, self._mask, gradient)
        return self._part

    def _keep_live(self, gradient: Any, position: int) -> Any:
        """codes shifts right, so that bit 0 tells whether the position's activation was above zero."""
        v = self._asm.v
        if position:
            v.shift_right(self._codes, self._codes, 1)
        v.and_(self._bit, self._codes, self._one)
        v.integer_equal(self._mask, self._bit, self._one)
        if self._alpha:
            v.select(self._part, self._mask, gradient, self._slope)
        else:
            v.keep(self._part, self._mask, gradient)
        return self._part
