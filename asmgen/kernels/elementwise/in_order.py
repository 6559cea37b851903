"""The copy of an image's values in the order of a vector, c, h, w, and its gradient.

In the image the channels of a pixel lie side by side, in the vector the pixels of a channel: squares of channels x
pixels are transposed in registers. What a run of pixels has beyond whole squares is moved element by element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.transpose import ROW_BYTES, Squares
from asmgen.kernels.elementwise.mover import Mover
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs import InOrderBackward, InOrderForward, dtype_tag
from asmgen.tile.common.count_text import advance, counted


def emit_forward(spec: InOrderForward, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi y (overwritten); slice of samples."""
    return _Kernel(spec, isa, spec.x, spec.y).emit()


def emit_backward(spec: InOrderBackward, isa: Isa) -> Listing:
    """The listing of one shape: rdi dy, rsi dx (overwritten but for its halo); slice of samples."""
    return _Kernel(spec, isa, spec.dx, spec.dy).emit()


@dataclass(frozen=True)
class _Channels:
    """`groups` of `n` neighbouring channels each, at most as many as a square has; n = 0: of pad lanes."""

    groups: int
    n: int


class _Kernel:
    """One emission: the registers, and loops that leave both pointers behind what they walked."""

    def __init__(self, spec: InOrderForward | InOrderBackward, isa: Isa, image: Image, rows: Rows) -> None:
        self.spec, self.image, self.rows = spec, image, rows
        self.is_forward = isinstance(spec, InOrderForward)
        self.asm = Assembler(isa, image.dtype, spec.symbol(isa.name))
        self.side = ROW_BYTES // image.element_bytes
        self.channel_bytes = image.h * image.w * image.element_bytes  # of the vector
        # Runs of contiguous pixels in a plane, and pixels of a run.
        self.runs = (1, image.h * image.w) if image.cols == image.w else (image.h, image.w)

    def emit(self) -> Listing:
        asm, image, rows = self.asm, self.image, self.rows
        with asm:
            first, second = (asm.argument(i, name) for i, name in enumerate(self._tensors()))
            self.pixel, self.feature = (first, second) if self.is_forward else (second, first)
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.squares = Squares(asm)
            self.element, self.zero = asm.vec.alloc("element"), asm.vec.alloc("zero")
            offset = asm.gp.alloc("offset")
            asm.comment("the slice's first sample")
            x86.SUB(left, begin)
            x86.IMUL(offset, begin, image.sample_bytes)
            x86.LEA(self.pixel, [self.pixel + offset * 1 + image.offset_bytes()])
            x86.IMUL(offset, begin, rows.sample_bytes)
            x86.ADD(self.feature, offset)
            asm.gp.free(begin, offset)
            if self._has_pad_lanes():
                asm.v.zero(self.zero)
            mover = Mover(asm)
            with asm.loop("n", "samples in the slice", left):
                walked = self._channels()
                if self.is_forward and rows.stride > rows.features:
                    asm.comment("padding of the row")
                    mover.clear(self.feature + 0, rows.stride - rows.features)
                self._move(image.sample_bytes - walked, rows.sample_bytes - image.c * self.channel_bytes, "next sample")
        return asm.finish(self._facts())

    def _has_pad_lanes(self) -> bool:
        """Whether there are lanes to clear."""
        return not self.is_forward and self.image.c_tail < self.image.block

    def _move(self, image_bytes: int, row_bytes: int, what: str) -> None:
        for pointer, distance in ((self.pixel, image_bytes), (self.feature, row_bytes)):
            self.asm.move(pointer, distance, f"{self.asm.name_of(pointer)}: {what}")

    # loops ---------------------------------------------------------------------------------------------------------

    def _channels(self) -> int:
        """All channels of a sample; the bytes that the image's pointer went on."""
        image = self.image
        n_full, tail = divmod(image.c, image.block)
        if n_full:
            with self.asm.loop("c", n_full):
                self._groups(_Channels(image.block // self.side, self.side))
                self._move(image.plane_bytes - image.pixel_bytes, 0, "next block of channels")
        walked = n_full * image.plane_bytes
        for channels in self._of_last_block(tail):
            self._groups(channels)
            walked += channels.groups * ROW_BYTES
        return walked

    def _of_last_block(self, tail: int) -> list[_Channels]:
        """Whole squares, what is left, pad lanes."""
        full, rest = divmod(tail, self.side)
        found = [_Channels(full, self.side), _Channels(int(rest > 0), rest)]
        if self._has_pad_lanes():
            found.append(_Channels(self.image.block // self.side - full - (rest > 0), 0))
        return [channels for channels in found if channels.groups]

    def _groups(self, channels: _Channels) -> None:
        """Those channels of all pixels, group after group."""
        asm, image, (n_runs, n_pixels) = self.asm, self.image, self.runs
        n_squares, rest = divmod(n_pixels, self.side)
        walked = n_runs * image.row_bytes if n_runs > 1 else n_pixels * image.pixel_bytes
        with asm.loop("group", channels.groups):
            if channels.n:
                asm.comment(f"{counted(channels.n, 'channel')} of all pixels")
            else:
                asm.comment("pad lanes of all pixels")
            with asm.loop("h", n_runs):
                if n_squares:
                    with asm.loop("w", n_squares):
                        self._square(channels.n)
                        self._next_pixels(self.side, channels.n)
                if rest:
                    with asm.loop("rest", rest):
                        self._pixel(channels.n)
                        self._next_pixels(1, channels.n)
                if n_runs > 1:
                    self._move(image.row_bytes - n_pixels * image.pixel_bytes, 0, "next row")
            others = (channels.n - 1) * self.channel_bytes if channels.n else 0
            self._move(ROW_BYTES - walked, others, "next channels")

    def _next_pixels(self, count: int, n_channels: int) -> None:
        """Pad lanes have no features."""
        row_bytes = count * self.image.element_bytes if n_channels else 0
        self._move(count * self.image.pixel_bytes, row_bytes, advance(count, "pixel"))

    # elements ------------------------------------------------------------------------------------------------------

    def _pixel_at(self, pixel: int) -> Any:
        return self.pixel + pixel * self.image.pixel_bytes

    def _feature_at(self, channel: int) -> Any:
        return self.feature + channel * self.channel_bytes

    def _square(self, n_channels: int) -> None:
        """`side` pixels of n_channels."""
        v, rows = self.asm.v, self.squares.rows
        if not n_channels:
            for pixel in range(self.side):
                v.store([self._pixel_at(pixel)], self.zero.as_xmm)
        elif self.is_forward:
            for pixel, row in enumerate(rows):
                v.load(row, [self._pixel_at(pixel)])
            for channel, column in enumerate(self.squares.transposed()[:n_channels]):
                v.store([self._feature_at(channel)], column)
        else:
            for channel, row in enumerate(rows):
                if channel < n_channels:
                    v.load(row, [self._feature_at(channel)])
                else:
                    v.zero(row)
            for pixel, column in enumerate(self.squares.transposed()):
                v.store([self._pixel_at(pixel)], column)

    def _pixel(self, n_channels: int) -> None:
        """One pixel of n_channels."""
        v, size = self.asm.v, self.image.element_bytes
        for channel in range(n_channels):
            places = self._pixel_at(0) + channel * size, self._feature_at(channel)
            source, target = places if self.is_forward else reversed(places)
            v.load_scalar(self.element, [source])
            v.store_scalar([target], self.element)
        if not n_channels:
            v.store([self._pixel_at(0)], self.zero.as_xmm)
        elif not self.is_forward:
            for channel in range(n_channels, self.side):
                v.store_scalar([self._pixel_at(0) + channel * size], self.zero)

    # the header ----------------------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, Activations]:
        """The source, then the target."""
        return {"x": self.image, "y": self.rows} if self.is_forward else {"dy": self.rows, "dx": self.image}

    def _facts(self) -> Facts:
        image, ctype = self.image, dtype_tag(self.image.dtype)
        (source_name, source), (target_name, target) = self._tensors().items()
        written = "padding zero" if self.is_forward else "halo not written, padding zero"
        n_runs, n_pixels = self.runs
        return Facts(
            title=f"{self.spec.text}  {source} -> {target}",
            source="asmgen/kernels/elementwise/in_order.py",
            formula=(self.spec.formula(),),
            arguments=(
                Argument("rdi", source_name, ctype, str(source), "in", "padding zero"),
                Argument("rsi", target_name, ctype, str(target), "out", written),
            ),
            slice_unit=f"samples, 0..{image.n}",
            flops=self.spec.flops(),
            bytes_read=source.size_bytes,
            bytes_written=target.size_bytes,
            tile=f"squares of {self.side} channels x {counted(self.side, 'pixel')}",
            notes=(f"{counted(n_runs, 'run')} of {counted(n_pixels, 'pixel')} a plane",),
        )
