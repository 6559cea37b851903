"""A strip of the input's rows on the kernel's frame: what a first layer reads instead of a stored tensor of numbers.

The images are u8 and lie wherever the data set has them. Before a kernel computes a band of output rows it converts the
rows of the image under it into the strip: planar, scaled, with the halo's columns and rows as zeros. To the kernel the
strip is a source like any other, with strides of its own; its size is chosen to stay in L1.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.listing import Argument
from asmgen.kernels.common.loops import Share
from asmgen.kernels.input.pixel_runs import PixelRuns
from asmgen.plan.specs import Conv, dtype_tag
from asmgen.tile.common.count_text import advance

_ADDRESS_BYTES = 8  # of an image, in the argument


class PixelStrip:
    """The strip under `n_rows` rows of z of `samples` samples, and which rows of which images it holds next.

    cols: columns of z that are computed (ow). step: rows of z from a strip to the next (n_rows). Takes scratch, so it
    must be made before the kernel's first stack slot.
    """

    def __init__(
        self,
        asm: Assembler,
        conv: Conv,
        n_rows: int,
        samples: int = 1,
        cols: int | None = None,
        step: int | None = None,
    ) -> None:
        assert conv.pixels is not None
        self._asm, self._conv, self._step, self._samples = asm, conv, step or n_rows, samples
        self.layout = conv.strip(n_rows, samples, cols)
        self._at = asm.scratch(self.layout.size_bytes)
        self._images, self._first_row = asm.stack_slot("images"), asm.stack_slot("first row of the strip")
        self._runs = PixelRuns(asm, conv.x.w, conv.pixels.scale, conv.pixels.shift)

    def origin(self, register: Any) -> None:
        """register = the pixel under tap (0, 0) of the strip's first output."""
        x86.LEA(register, [self._at])

    # where it is -----------------------------------------------------------------------------------------------------

    def start(self, pixels: Any, first: Any = None) -> None:
        """pixels: the argument's register; first: that of the first sample (0). Zeroes the halo's columns for good."""
        asm, layout = self._asm, self.layout
        if first is not None:
            x86.LEA(pixels, [pixels + first * _ADDRESS_BYTES])
        x86.MOV(self._images, pixels)
        if layout.cols == layout.w:
            return
        asm.comment("the strip's columns beside the image are zero")
        at, zero = asm.gp.alloc("strip"), asm.vec.alloc("zero")
        self.origin(at)
        asm.v.zero(zero)
        with asm.loop("clear_strip", layout.size_bytes // asm.isa.vector_bytes):
            asm.v.store([at], zero)
            asm.move(at, asm.isa.vector_bytes, "strip: next vector")
        asm.gp.free(at)
        asm.vec.free(zero)

    def open_samples(self) -> None:
        """To the first row of the samples at hand."""
        x86.MOV(self._first_row, -self._conv.pt)

    def next_rows(self) -> None:
        """To the rows under the next strip's rows of z."""
        self._asm.move(self._first_row, self._step * self._conv.sh, "rows under the next strip")

    def next_samples(self) -> None:
        self._asm.move(self._images, self._samples * _ADDRESS_BYTES, f"addresses: {advance(self._samples, 'sample')}")

    # filling it ------------------------------------------------------------------------------------------------------

    def fill(self, samples: Share | None = None) -> None:
        """Convert the rows at hand, of one sample or of as many as `samples` says."""
        asm, layout, conv = self._asm, self.layout, self._conv
        asm.comment("the strip: rows of the images as numbers")
        self._runs.take_registers()
        image_at = asm.gp.alloc("address of the image")
        src, dst, row = asm.gp.alloc("pixel"), asm.gp.alloc("strip"), asm.gp.alloc("row")
        x86.MOV(image_at, self._images)
        x86.LEA(dst, [self._at + layout.offset_bytes()])
        several = samples if self._samples > 1 else None
        with several.loop("image", on_stack=True) if several else nullcontext():
            x86.IMUL(src, self._first_row, conv.x.w)
            x86.ADD(src, [image_at])
            if several:
                asm.move(image_at, _ADDRESS_BYTES, "addresses: next sample")
            self._runs.first_channel()
            with asm.loop("c", layout.c):
                self._runs.next_channel()
                x86.MOV(row, self._first_row)
                with asm.loop("h", layout.h):
                    self._row(src, dst, row)
                asm.move(src, (conv.x.h - layout.h) * layout.w, "pixels: next channel")
            if several:
                asm.move(dst, layout.sample_bytes - layout.c * layout.plane_bytes, "strip: next sample")
        asm.gp.free(image_at, src, dst, row)
        self._runs.release_registers()

    def _row(self, src: Any, dst: Any, row: Any) -> None:
        """One row, of the image or of the halo above and below it; leaves src, dst and row at the next one."""
        asm, layout = self._asm, self.layout
        if self._has_rows_outside():
            outside, filled = asm.label("outside"), asm.label("filled")
            x86.CMP(row, self._conv.x.h)
            x86.JAE(outside)
            done = self._runs.convert(src, dst)
            x86.JMP(filled)
            asm.place(outside)
            self._runs.clear(dst)
            asm.move(src, done, "pixels: past the row")
            asm.place(filled)
            asm.move(row, 1, "next row")
        else:
            done = self._runs.convert(src, dst)
        asm.move(src, layout.w - done, "pixels: next row")
        asm.move(dst, layout.row_bytes - done * layout.element_bytes, "strip: next row")

    def _has_rows_outside(self) -> bool:
        """Whether any strip reaches above the image or below it."""
        conv = self._conv
        last = (-(-conv.oh // self._step) - 1) * self._step * conv.sh - conv.pt
        return conv.pt > 0 or last + self.layout.h > conv.x.h


def x_argument(conv: Conv) -> Argument:
    """The header's line for x, or for the pixels that it is made of."""
    x = conv.x
    if conv.pixels is None:
        return Argument("rdi", "x", dtype_tag(x.dtype), str(x), "in", "halo and pad lanes are 0")
    return Argument("rdi", "pixels", "u64", f"[{x.n}]", "in", f"addresses of u8 [{x.c}][{x.h}][{x.w}]")


def x_sample_bytes(conv: Conv) -> int:
    """From what the argument holds of a sample to the next."""
    return _ADDRESS_BYTES if conv.pixels else conv.x.sample_bytes


def x_index(output: str, stride: int, tap: str, pad: int) -> str:
    """The row or column of x under a tap of an output, as formulas write it: `oh*2+i-1`."""
    return f"{output}{f'*{stride}' if stride > 1 else ''}+{tap}{f'-{pad}' if pad else ''}"


def x_formula(conv: Conv) -> tuple[str, ...]:
    """What x is, where it is made of pixels."""
    if conv.pixels is None:
        return ()
    return ("x[n,c,h,w] = u8 pixels[n][c,h,w] * scale[c] + shift[c] inside the image, 0 outside",)


def x_bytes(conv: Conv) -> int:
    """Bytes that are read of x, or of the pixels that it is made of."""
    x = conv.x
    return x.size_bytes if conv.pixels is None else x.n * (x.c * x.h * x.w + _ADDRESS_BYTES)
