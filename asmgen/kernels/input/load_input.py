"""Input: dst[n] = images[indices[n]] * scale[c] + shift[c], u8 pixels to floats.

The pixels of an image are cut into runs that lie contiguously on both sides: a row, a plane, or the whole image. Blocks
of channels: asmgen/kernels/input/load_input_blocks.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.input import load_input_blocks
from asmgen.kernels.input.pixel_runs import PixelRuns
from asmgen.plan.layout import Image, round_up
from asmgen.plan.specs import LoadInput, dtype_tag
from asmgen.tile.common.count_text import counted


@dataclass(frozen=True)
class Runs:
    """How an image is walked: per channel step `rows` runs of `pixels`; `step_bytes` from a run to the next in dst.

    n_channels: channel steps; 1 where all channels share scale and shift and lie contiguously.
    """

    n_channels: int
    rows: int
    pixels: int
    step_bytes: int
    channel_bytes: int  # of dst, from the end of a channel's last run to the start of the next channel's first


def runs(spec: LoadInput) -> Runs:
    """The longest runs that are contiguous in the image and in dst."""
    uniform = len(set(zip(spec.scale, spec.shift, strict=True))) == 1
    dst, plane = spec.dst, spec.h * spec.w
    if not isinstance(dst, Image):
        n_channels, pixels = (1, spec.c * plane) if uniform else (spec.c, plane)
        return Runs(n_channels, 1, pixels, pixels * dst.element_bytes, 0)
    if dst.cols > spec.w:
        return Runs(spec.c, spec.h, spec.w, dst.row_bytes, dst.plane_bytes - spec.h * dst.row_bytes)
    if uniform and dst.rows == spec.h:
        return Runs(1, 1, spec.c * plane, spec.c * dst.plane_bytes, 0)
    return Runs(spec.c, 1, plane, plane * dst.element_bytes, dst.plane_bytes - spec.h * dst.row_bytes)


def emit(spec: LoadInput, isa: Isa) -> Listing:
    """The listing of one shape: rdi images, rsi indices, rdx dst (overwritten but for its halo); slice of samples."""
    if isinstance(spec.dst, Image) and spec.dst.block != 1:
        return load_input_blocks.emit(spec, spec.dst, isa)
    return _Kernel(spec, isa).emit()


class _Kernel:
    """Registers and loops of one kernel."""

    def __init__(self, spec: LoadInput, isa: Isa) -> None:
        self.spec = spec
        self.runs = runs(spec)
        self.asm = Assembler(isa, spec.dst.dtype, spec.symbol(isa.name))
        self.pixels = PixelRuns(self.asm, self.runs.pixels, spec.scale, spec.shift)

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        with asm:
            self.images, self.indices, dst_sample = (
                asm.argument(i, name) for i, name in enumerate(("images", "indices", "dst sample"))
            )
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.src, self.dst = asm.gp.alloc("pixel"), asm.gp.alloc("dst")
            x86.SUB(left, begin)
            x86.LEA(self.indices, [self.indices + begin * 4])
            x86.IMUL(begin, begin, spec.dst.sample_bytes)
            x86.ADD(dst_sample, begin)
            asm.gp.free(begin)
            self.pixels.take_registers()
            with asm.loop("n", "samples in the slice", left):
                asm.comment("the sample's image")
                x86.MOV(self.src.as_dword, [self.indices])
                x86.IMUL(self.src, self.src, spec.c * spec.h * spec.w)
                x86.ADD(self.src, self.images)
                x86.LEA(self.dst, [dst_sample + spec.dst.offset_bytes()])
                self._zero_padding()
                self._image()
                asm.move(self.indices, 4, "indices: next sample")
                asm.move(dst_sample, spec.dst.sample_bytes, "dst: next sample")
        return asm.finish(self._facts())

    def _zero_padding(self) -> None:
        """Rows: clear the vectors that hold padding; the pixels then overwrite their share."""
        asm, dst = self.asm, self.spec.dst
        if isinstance(dst, Image) or dst.stride == dst.features:
            return
        asm.comment(f"padding: elements {dst.features}..{dst.stride - 1} of the row are zero")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        for n_elements in range(round_up(dst.stride - dst.features, asm.lanes), 0, -asm.lanes):
            asm.v.store([self.dst + (dst.stride - n_elements) * dst.element_bytes], zero)
        asm.vec.free(zero)

    def _image(self) -> None:
        """All runs of one sample; leaves src behind the image."""
        asm, shape = self.asm, self.runs
        self.pixels.first_channel()
        with asm.loop("c", shape.n_channels):
            self.pixels.next_channel()
            with asm.loop("h", shape.rows):
                self._run()
            if shape.channel_bytes:
                asm.move(self.dst, shape.channel_bytes, "dst: next step of channels")

    def _run(self) -> None:
        """One run; leaves src behind it and dst at the next one."""
        shape, element_bytes = self.runs, self.asm.element_bytes
        done = self.pixels.convert(self.src, self.dst)
        if shape.n_channels * shape.rows > 1:
            self.asm.move(self.src, shape.pixels - done, "pixels: next run")
            self.asm.move(self.dst, shape.step_bytes - done * element_bytes, "dst: next run")

    def _facts(self) -> Facts:
        spec, dst, shape = self.spec, self.spec.dst, self.runs
        n_pixels = spec.c * spec.h * spec.w
        steps = counted(shape.n_channels, "step") + " of channels with one scale and shift"
        notes = [f"{steps}, each {counted(shape.rows, 'run')} of {shape.pixels} contiguous pixels"]
        if ragged := shape.pixels % self.pixels.piece:
            size = f"{shape.pixels} = {shape.pixels // self.pixels.piece} x {self.pixels.piece} + {ragged}"
            notes.append(f"{size}: the last vector of a run overlaps the one before")
        return Facts(
            title=f"{spec.text}  u8 {spec.c}x{spec.h}x{spec.w} -> {dst}",
            source="asmgen/kernels/input/load_input.py",
            formula=("dst[n,c,h,w] = images[indices[n],c,h,w] * scale[c] + shift[c]",),
            arguments=(
                Argument("rdi", "images", "u8", f"[count][{spec.c}][{spec.h}][{spec.w}]", "in", "any alignment"),
                Argument("rsi", "indices", "u32", f"[{dst.n}]", "in", "below count"),
                Argument("rdx", "dst", dtype_tag(dst.dtype), str(dst), "out", "halo not written, padding zero"),
            ),
            slice_unit=f"samples, 0..{dst.n}",
            flops=spec.flops(),
            bytes_read=dst.n * (n_pixels + 4),
            bytes_written=dst.n * n_pixels * dst.element_bytes,
            tile=self.pixels.describe(),
            notes=tuple(notes),
        )
