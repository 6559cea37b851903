"""Input into blocks of channels: a pixel's V channels are gathered from as many planes, byte by byte, then converted.

For networks that begin with a pool or an activation. It is read once a step, so the code is simple.
"""

from __future__ import annotations

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.layout import Image
from asmgen.plan.specs import LoadInput, dtype_tag


def emit(spec: LoadInput, dst: Image, isa: Isa) -> Listing:
    """The listing of one shape: rdi images, rsi indices, rdx dst (overwritten but for its halo); slice of samples.

    dst: the spec's. Raises ValueError where its block is not V.
    """
    return _Kernel(spec, dst, isa).emit()


class _Kernel:
    """Registers and loops of one kernel."""

    def __init__(self, spec: LoadInput, dst: Image, isa: Isa) -> None:
        self.spec, self.layout = spec, dst
        self.asm = Assembler(isa, dst.dtype, spec.symbol(isa.name))
        if dst.block != self.asm.lanes:
            raise ValueError(f"load_input into {dst}: blocks must be of {self.asm.lanes} channels, or of 1")

    def emit(self) -> Listing:
        asm, spec, layout = self.asm, self.spec, self.layout
        with asm:
            images, indices, dst_sample = (
                asm.argument(i, name) for i, name in enumerate(("images", "indices", "dst sample"))
            )
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.src, self.dst = asm.gp.alloc("pixel of a block's first channel"), asm.gp.alloc("dst")
            self.constants = asm.gp.alloc("scales, shifts of the block")
            self.scale, self.shift = asm.vec.alloc("scale"), asm.vec.alloc("shift")
            self.bytes, self.values = asm.vec.alloc("V bytes").as_xmm, asm.vec.alloc("V channels")
            x86.SUB(left, begin)
            x86.LEA(indices, [indices + begin * 4])
            x86.IMUL(begin, begin, layout.sample_bytes)
            x86.ADD(dst_sample, begin)
            table = asm.vector_constant("scales_shifts", self._table(), "per block: V scales, V shifts; 0 in padding")
            with asm.loop("n", "samples in the slice", left):
                asm.comment("the sample's image")
                x86.MOV(self.src.as_dword, [indices])
                x86.IMUL(self.src, self.src, spec.c * spec.h * spec.w)
                x86.ADD(self.src, images)
                x86.LEA(self.dst, [dst_sample + layout.offset_bytes()])
                x86.LEA(self.constants, table)
                n_full, tail = divmod(spec.c, layout.block)
                if n_full:
                    with asm.loop("c", n_full):
                        self._block(layout.block)
                if tail:
                    self._block(tail)
                asm.move(indices, 4, "indices: next sample")
                asm.move(dst_sample, layout.sample_bytes, "dst: next sample")
        return asm.finish(self._facts())

    def _table(self) -> list[float]:
        spec, block = self.spec, self.layout.block
        padding = (0.0,) * (self.layout.n_c_blocks * block - spec.c)
        scales, shifts = spec.scale + padding, spec.shift + padding
        starts = range(0, len(scales), block)
        return [value for at in starts for value in (*scales[at : at + block], *shifts[at : at + block])]

    def _block(self, n_channels: int) -> None:
        """All pixels of a block that has n_channels; leaves the pointers at the next one."""
        asm, v, spec, layout = self.asm, self.asm.v, self.spec, self.layout
        plane, width = spec.h * spec.w, asm.isa.vector_bytes
        v.load(self.scale, [self.constants])
        v.load(self.shift, [self.constants + width])
        with asm.loop("h", spec.h):
            with asm.loop("w", spec.w):
                v.zero(self.bytes)
                for channel in range(n_channels):
                    v.insert_u8(self.bytes, [self.src + channel * plane], channel)
                v.from_u8(self.values, self.bytes)
                v.mul_add(self.values, self.scale, self.shift)
                v.store([self.dst], self.values)
                asm.move(self.src, 1, "pixels: next column")
                asm.move(self.dst, layout.pixel_bytes, "dst: next column")
            asm.move(self.dst, layout.row_bytes - spec.w * layout.pixel_bytes, "dst: next row")
        asm.move(self.src, (n_channels - 1) * plane, "pixels: next block of channels")
        asm.move(self.dst, layout.plane_bytes - spec.h * layout.row_bytes, "dst: next block of channels")
        asm.move(self.constants, 2 * width, "scales, shifts: next block of channels")

    def _facts(self) -> Facts:
        spec, layout = self.spec, self.layout
        n_pixels = spec.c * spec.h * spec.w
        return Facts(
            title=f"{spec.text}  u8 {spec.c}x{spec.h}x{spec.w} -> {layout}",
            source="asmgen/kernels/input/load_input_blocks.py",
            formula=("dst[n,c,h,w] = images[indices[n],c,h,w] * scale[c] + shift[c]",),
            arguments=(
                Argument("rdi", "images", "u8", f"[count][{spec.c}][{spec.h}][{spec.w}]", "in", "any alignment"),
                Argument("rsi", "indices", "u32", f"[{layout.n}]", "in", "below count"),
                Argument("rdx", "dst", dtype_tag(layout.dtype), str(layout), "out", "halo not written, padding zero"),
            ),
            slice_unit=f"samples, 0..{layout.n}",
            flops=spec.flops(),
            bytes_read=layout.n * (n_pixels + 4),
            bytes_written=layout.n * layout.n_c_blocks * spec.h * spec.w * layout.pixel_bytes,
            tile=f"1 pixel, {layout.block} channels",
        )
