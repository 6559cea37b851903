"""Forward convolution with bias, activation and pooling in one kernel; lanes are output channels.

    y = pool(act(z)),   z[n,oc,oh,ow] = b[oc] + sum over c,i,j of x[n,c,oh*sh+i-pt,ow*sw+j-pl] * w[oc,c,i,j]

A tile of pixels (whole pooling windows) x vectors of output channels is summed in registers over all channels and
taps, so z never reaches memory. The rows of x that a row of tiles reads stay in L1 while the groups of output channels
pass over them; their weights stream from L2. Every sum is one chain that starts at the bias. A first layer that reads
pixels makes a strip of rows on its frame before each band of rows of y.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.conv2d_body import (
    NOTES,
    Accumulators,
    Reduction,
    Taps,
    accumulate,
    alloc_accumulators,
    free_accumulators,
)
from asmgen.kernels.conv2d_epilogue import Epilogue
from asmgen.kernels.pixel_strip import PixelStrip, x_argument, x_bytes, x_formula
from asmgen.kernels.share import Share
from asmgen.kernels.window import add
from asmgen.plan.specs import Conv2dForward, dtype_tag
from asmgen.tile.conv2d import RegisterTile
from asmgen.tile.conv2d_fwd import ForwardTile, Group, choose_tile


def emit(spec: Conv2dForward, isa: Isa, tile: ForwardTile | None = None) -> Listing:
    """The kernel of one shape: rdi x or pixels, rsi w (bias behind), rdx y, rcx codes (both overwritten), slice of
    samples.

    Raises ValueError when a pooling window has more pixels than the register file takes.
    """
    return _Kernel(spec, isa, tile or choose_tile(spec, isa)).emit()


class _Kernel:
    """Registers and loops of one kernel. The pointers advance and rewind by immediates as the loops go."""

    def __init__(self, spec: Conv2dForward, isa: Isa, tile: ForwardTile) -> None:
        self.spec, self.tile, self.conv = spec, tile, spec.conv
        self.asm = Assembler(isa, spec.y.dtype, spec.symbol(isa.name))
        self.ph, self.pw = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
        self.strip = PixelStrip(self.asm, spec.conv, tile.band_rows * self.ph) if spec.conv.pixels else None
        self.x_layout = self.strip.layout if self.strip else spec.conv.x
        self.y_layout, self.weights = spec.y, spec.conv.weights
        below = (self.ph - 1) * self.conv.sh + self.weights.kh
        next_rows = range(below, below + self.ph * self.conv.sh * tile.prefetches)
        self.reduction = Reduction(self.x_layout, spec.conv.weights, tile.unroll_rows, tile.channels, next_rows)
        cols = tuple((j, j) for j in range(self.weights.kw))
        self.taps = Taps(self.weights.kh, 1, 1, self.conv.sh, self.conv.sw, cols)
        self.epilogue = Epilogue(self.asm, spec.y, spec.act, spec.pool, spec.codes)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            self._take_registers()
            with asm.loop("n", "end - begin", self.n_samples):
                self._rows()
                add(self.y, self.y_layout.sample_bytes - self.y_layout.h * self.y_layout.row_bytes)
                if self.codes is not None:
                    add(self.codes, self.y_layout.code_sample_bytes - self._code_row_bytes() * self.y_layout.h)
        return asm.finish(self._facts())

    def _rows(self) -> None:
        """All rows of y of one sample, from x or from one strip of pixels after the other."""
        asm, x, y, strip = self.asm, self.x_layout, self.y_layout, self.strip
        if strip is None:
            with asm.loop("oh", y.h, on_stack=True):
                self._row()
            add(self.x, x.sample_bytes - y.h * self.ph * self.conv.sh * x.row_bytes)
            return
        strip.open_samples()
        self.bands.restart()
        with asm.loop("band", -(-y.h // self.tile.band_rows), on_stack=True):
            self.bands.next()
            strip.fill()
            strip.origin(self.x)
            with self.bands.loop("oh", on_stack=True):
                self._row()
            strip.next_rows()
        strip.next_samples()

    def _take_registers(self) -> None:
        asm, conv = self.asm, self.conv
        self.x, self.w, self.y = asm.argument(0, "x"), asm.argument(1, "w"), asm.argument(2, "y")
        self.codes = asm.argument(3, "codes") if self.spec.codes else None
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.bias = asm.gp.alloc("bias") if conv.bias else None
        offset = asm.gp.alloc("offset of the slice")
        asm.comment("the slice's first sample")
        x86.SUB(end, begin)
        self.n_samples = end
        x_first = self.x_layout.offset_bytes(h=-conv.pt, w=-conv.pl)
        starts = [(self.x, self.x_layout, x_first), (self.y, self.y_layout, self.y_layout.offset_bytes())]
        for pointer, layout, first in starts[1:] if self.strip else starts:
            x86.IMUL(offset, begin, layout.sample_bytes)
            x86.ADD(pointer, offset)
            add(pointer, first)
        if self.strip:
            self.strip.start(self.x, begin)
            self.bands = Share(asm, "rows of y", self.y_layout.h, self.tile.band_rows, asm.gp.alloc("temporary"))
        if self.codes is not None:
            x86.IMUL(offset, begin, self.y_layout.code_sample_bytes)
            x86.ADD(self.codes, offset)
        if self.bias is not None:
            x86.LEA(self.bias, [self.w + self.weights.bias_offset_bytes])
        asm.gp.free(offset, begin)

    def _code_row_bytes(self) -> int:
        return self.y_layout.w * self.y_layout.code_pixel_bytes

    def _row(self) -> None:
        """One row of y: all groups of output channels."""
        y, n_blocks = self.y_layout, self.weights.n_oc_blocks
        for group in self.tile.groups:
            with self.asm.loop("oc", group.count, on_stack=True):
                self._group(group)
        add(self.x, self.ph * self.conv.sh * self.x_layout.row_bytes)
        add(self.w, -n_blocks * self.weights.oc_block_bytes)
        if self.bias is not None:
            add(self.bias, -n_blocks * self.weights.tap_bytes)
        add(self.y, y.row_bytes - n_blocks * y.plane_bytes)
        if self.codes is not None:
            add(self.codes, self._code_row_bytes() * (1 - n_blocks * y.h))

    def _group(self, group: Group) -> None:
        """One row of y of one group of output channels: all tiles."""
        asm, y, vectors = self.asm, self.y_layout, group.vectors
        for run in group.runs:
            tile = run.tile
            with asm.loop("ow", run.count, on_stack=True):
                self._tile(tile)
                add(self.x, tile.cols * self.conv.sw * self.x_layout.pixel_bytes)
                add(self.y, tile.cols // self.pw * y.pixel_bytes)
                if self.codes is not None:
                    add(self.codes, tile.cols // self.pw * y.code_pixel_bytes)
        add(self.x, -self.conv.ow * self.conv.sw * self.x_layout.pixel_bytes)
        add(self.w, vectors * self.weights.oc_block_bytes)
        if self.bias is not None:
            add(self.bias, vectors * self.weights.tap_bytes)
        add(self.y, vectors * y.plane_bytes - y.w * y.pixel_bytes)
        if self.codes is not None:
            add(self.codes, self._code_row_bytes() * (vectors * y.h - 1))

    def _tile(self, tile: RegisterTile) -> None:
        asm = self.asm
        asm.comment(f"tile: {tile}")
        acc = alloc_accumulators(asm, tile)
        self._start(acc)
        accumulate(asm, self.reduction, self.taps, tile, acc, self.x, self.w)
        self.epilogue.store(acc, self.y, self.codes)
        free_accumulators(asm, acc)

    def _start(self, acc: Accumulators) -> None:
        """acc = bias, or 0."""
        pixels: list[list[Any]] = [pixel for row in acc for pixel in row]
        for pixel in pixels:
            for g, register in enumerate(pixel):
                if self.bias is None:
                    self.asm.v.zero(register)
                elif pixel is pixels[0]:
                    self.asm.v.load(register, [self.bias + g * self.weights.tap_bytes])
                    self.asm.note(f"bias[{g}]")
                else:
                    self.asm.v.mov(register, pixels[0][g])

    def _facts(self) -> Facts:
        spec, conv, x, y, w = self.spec, self.conv, self.conv.x, self.y_layout, self.weights
        ctype = dtype_tag(y.dtype)
        bias = "b[oc] + " if conv.bias else ""
        row, col = (f"{o}*{s}" if s > 1 else o for o, s in (("oh", conv.sh), ("ow", conv.sw)))
        source = f"x[n,c,{row}+i-{conv.pt},{col}+j-{conv.pl}]"
        act = {"none": "z", "relu": "max(0, z)", "leaky_relu": f"(z > 0 ? z : {spec.act.alpha} z)"}[spec.act.kind]
        pool = f" {spec.pool.kind} over {spec.pool.ph} x {spec.pool.pw} of" if spec.pool else ""
        formula = [
            f"z[n,oc,oh,ow] = {bias}sum_c,i,j {source} * w[oc,c,i,j]    i < {w.kh}, j < {w.kw}, c < {w.c}",
            f"y[n,oc] ={pool} {act}",
            *x_formula(conv),
        ]
        arguments = [
            x_argument(conv),
            Argument("rsi", "w", ctype, str(w), "in", "lanes are output channels"),
            Argument("rdx", "y", ctype, str(y), "out", "overwritten but for the halo"),
        ]
        if spec.codes:
            assert spec.pool is not None
            what = "first position of the maximum" if spec.pool.kind == "max" else "bit per position: z > 0"
            layout = f"[{y.n}][{y.n_c_blocks}][{y.h}][{y.w}][{y.block}]"
            arguments.append(Argument("rcx", "codes", "u8", layout, "out", what))
        return Facts(
            title=f"conv2d_fwd  {x.n} x c{x.c} h{x.h} w{x.w} -> c{y.c} h{y.h} w{y.w}",
            source="asmgen/kernels/conv2d_fwd.py",
            formula=tuple(formula),
            arguments=tuple(arguments),
            slice_unit=f"samples, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=x_bytes(conv) + w.size_bytes,
            bytes_written=y.n * y.n_c_blocks * y.h * y.w * y.pixel_bytes
            + (y.n * y.code_sample_bytes if spec.codes else 0),
            tile=str(self.tile),
            notes=NOTES,
        )
