"""Input: dst[n] = images[indices[n]] * scale[c] + shift[c], u8 pixels to floats.

The pixels of an image are cut into runs that lie contiguously on both sides: a row, a plane, or the whole image. A run
is covered by vectors; its ragged end by one more vector that overlaps the one before (the same pixels, the same
values), so that no byte outside the image is read and none outside the row is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.layout import Image, round_up
from asmgen.plan.specs import LoadInput, dtype_tag

_UNROLL = 4  # vectors per trip
_VIEWS = {16: "as_xmm", 32: "as_ymm", 64: "as_zmm"}
_SMALLEST_VECTOR_BYTES = min(_VIEWS)


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
    return _Kernel(spec, isa).emit()


class _Kernel:
    """Registers and loops of one kernel."""

    def __init__(self, spec: LoadInput, isa: Isa) -> None:
        self.spec = spec
        self.runs = runs(spec)
        self.asm = Assembler(isa, spec.dst.dtype, spec.symbol(isa.name))
        self.is_uniform = len(set(zip(spec.scale, spec.shift, strict=True))) == 1
        self.piece = self.asm.lanes
        while self.piece > self.runs.pixels:
            self.piece //= 2
        if self.piece * self.asm.element_bytes < _SMALLEST_VECTOR_BYTES:
            self.piece = 1

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
            self._load_constants()
            with asm.loop("n", "samples in the slice", left):
                asm.comment("the sample's image")
                x86.MOV(self.src.as_dword, [self.indices])
                x86.IMUL(self.src, self.src, spec.c * spec.h * spec.w)
                x86.ADD(self.src, self.images)
                x86.LEA(self.dst, [dst_sample + spec.dst.offset_bytes()])
                self._zero_padding()
                self._image()
                x86.ADD(self.indices, 4)
                x86.ADD(dst_sample, spec.dst.sample_bytes)
        return asm.finish(self._facts())

    def _load_constants(self) -> None:
        """Scale and shift in registers; with one pair per channel, a pointer to their table."""
        asm, spec = self.asm, self.spec
        self.scale, self.shift = asm.vec.alloc("scale"), asm.vec.alloc("shift")
        self.pixels = [asm.vec.alloc(f"pixels {u}") for u in range(_UNROLL)]
        if self.is_uniform:
            asm.v.load(self.scale, asm.vector_constant("scale", spec.scale[0]))
            asm.v.load(self.shift, asm.vector_constant("shift", spec.shift[0]))
            return
        pairs = [value for pair in zip(spec.scale, spec.shift, strict=True) for value in pair]
        padding = [0.0] * (-len(pairs) % asm.lanes)
        self.pair = asm.gp.alloc("scale, shift of the channel")
        self.table = asm.vector_constant("scale_shift", pairs + padding, "scale, shift per channel")

    def _zero_padding(self) -> None:
        """Rows: clear the vectors that hold padding; the pixels then overwrite their share."""
        asm, dst = self.asm, self.spec.dst
        if isinstance(dst, Image) or dst.stride == dst.features:
            return
        asm.comment(f"padding: elements {dst.features}..{dst.stride - 1} of the row are zero")
        zero = self.pixels[0]
        asm.v.zero(zero)
        for n_elements in range(round_up(dst.stride - dst.features, asm.lanes), 0, -asm.lanes):
            asm.v.store([self.dst + (dst.stride - n_elements) * dst.element_bytes], zero)

    def _image(self) -> None:
        """All runs of one sample; leaves src behind the image."""
        asm, spec, shape = self.asm, self.spec, self.runs
        if not self.is_uniform:
            x86.LEA(self.pair, self.table)
        with asm.loop("c", shape.n_channels):
            if not self.is_uniform:
                asm.v.broadcast(self.scale, [self.pair])
                asm.v.broadcast(self.shift, [self.pair + spec.dst.element_bytes])
                x86.ADD(self.pair, 2 * spec.dst.element_bytes)
            with asm.loop("h", shape.rows):
                self._run()
            if shape.channel_bytes:
                x86.ADD(self.dst, shape.channel_bytes)

    def _run(self) -> None:
        """One run; leaves src behind it and dst at the next one."""
        asm, n_pixels, piece = self.asm, self.runs.pixels, self.piece
        n_groups, rest = divmod(n_pixels, _UNROLL * piece)
        piece_bytes = piece * asm.element_bytes
        done = 0
        if n_groups:
            with asm.loop("w", n_groups):
                for u in range(_UNROLL):
                    self._pixels(self.pixels[u], u * piece)
                x86.ADD(self.src, _UNROLL * piece)
                x86.ADD(self.dst, _UNROLL * piece_bytes)
            done = n_groups * _UNROLL * piece
        for u in range(rest // piece):
            self._pixels(self.pixels[u], u * piece)
        if rest % piece:
            self._pixels(self.pixels[-1], rest - piece)
            asm.note("ragged end: overlaps the pixels before it")
        if self.runs.n_channels * self.runs.rows > 1:
            if rest:
                x86.ADD(self.src, rest)
            if done * asm.element_bytes != self.runs.step_bytes:
                x86.ADD(self.dst, self.runs.step_bytes - done * asm.element_bytes)

    def _pixels(self, register: Any, first: int) -> None:
        """`piece` pixels from `first` on: convert, scale, store."""
        v = self.asm.v
        source, target = [self.src + first], [self.dst + first * self.asm.element_bytes]
        if self.piece == 1:
            pixels = register.as_xmm
            v.from_u8_scalar(pixels, source)
            v.mul_add(pixels, self.scale.as_xmm, self.shift.as_xmm)
            v.store_scalar(target, pixels)
            return
        view = attrgetter(_VIEWS[self.piece * self.asm.element_bytes])
        v.from_u8(view(register), source)
        v.mul_add(view(register), view(self.scale), view(self.shift))
        v.store(target, view(register))

    def _tile(self) -> str:
        """How a run is cut."""
        n_groups, rest = divmod(self.runs.pixels, _UNROLL * self.piece)
        n_rest = -(-rest // self.piece)
        counts = ([f"{n_groups} x {_UNROLL}"] if n_groups else []) + ([str(n_rest)] if n_rest else [])
        unit = "single pixels" if self.piece == 1 else f"vectors of {self.piece} pixels"
        return f"a run in {unit}: {' + '.join(counts)}"

    def _facts(self) -> Facts:
        spec, dst, shape = self.spec, self.spec.dst, self.runs
        n_pixels = spec.c * spec.h * spec.w
        notes = [
            f"a run of {shape.pixels} contiguous pixels: {shape.rows} a channel step, {shape.n_channels} channel steps"
        ]
        if ragged := shape.pixels % self.piece:
            size = f"{shape.pixels} = {shape.pixels // self.piece} x {self.piece} + {ragged}"
            notes.append(f"{size}: the last vector of a run overlaps the one before")
        return Facts(
            title=f"load_input  u8 {spec.c}x{spec.h}x{spec.w} -> {dst}",
            source="asmgen/kernels/load_input.py",
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
            tile=self._tile(),
            notes=tuple(notes),
        )
