"""What the forward convolution's kernels share: arguments, the loops over samples and rows of y, the header.

A first layer that reads pixels makes a strip of rows on its frame before each band of rows of y.
"""

from __future__ import annotations

from typing import Protocol

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import call
from asmgen.kernels.common.loops import Share
from asmgen.kernels.conv.conv2d_epilogue import Epilogue
from asmgen.kernels.input.pixel_strip import PixelStrip, x_argument, x_bytes, x_formula
from asmgen.plan.specs import Conv2dForward, dtype_tag


class Tile(Protocol):
    """What the frame wants to know of a tile: rows of y that are computed from one strip, 0 where x is stored."""

    @property
    def band_rows(self) -> int: ...


class ForwardKernel:
    """Registers and outer loops of one kernel. The pointers advance and rewind by immediates as the loops go.

    source, notes: for the header. strip_cols: columns of z that are computed from a strip of pixels, if more than ow.
    """

    def __init__(
        self,
        spec: Conv2dForward,
        isa: Isa,
        tile: Tile,
        source: str,
        notes: tuple[str, ...],
        strip_cols: int | None = None,
    ) -> None:
        self.spec, self.conv, self.source, self.notes = spec, spec.conv, source, notes
        self.band_rows, self.tile_text = tile.band_rows, str(tile)
        self.asm = Assembler(isa, spec.y.dtype, spec.symbol(isa.name))
        self.ph, self.pw = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
        n_rows = tile.band_rows * self.ph
        self.strip = PixelStrip(self.asm, spec.conv, n_rows, cols=strip_cols) if spec.conv.pixels else None
        self.x_layout = self.strip.layout if self.strip else spec.conv.x
        self.y_layout, self.weights = spec.y, spec.conv.weights
        self.epilogue = Epilogue(self.asm, spec.y, spec.act, spec.pool, spec.codes)

    def _row(self) -> None:
        """One row of y, all output channels; leaves x and y (and codes) at the next one and w and bias as they were."""
        raise NotImplementedError

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            self._take_registers()
            with asm.loop("n", "end - begin", self.n_samples):
                self._rows()
                asm.move(
                    self.y, self.y_layout.sample_bytes - self.y_layout.h * self.y_layout.row_bytes, "y: next sample"
                )
                if self.codes is not None:
                    asm.move(
                        self.codes,
                        self.y_layout.code_sample_bytes - self._code_row_bytes() * self.y_layout.h,
                        "codes: next sample",
                    )
        return asm.finish(self._facts())

    def _rows(self) -> None:
        """All rows of y of one sample, from x or from one strip of pixels after the other."""
        asm, x, y, strip = self.asm, self.x_layout, self.y_layout, self.strip
        if strip is None:
            with asm.loop("oh", y.h, on_stack=True):
                self._row()
            asm.move(self.x, x.sample_bytes - y.h * self.ph * self.conv.sh * x.row_bytes, "x: next sample")
            return
        strip.open_samples()
        self.bands.restart()
        with asm.loop("band", -(-y.h // self.band_rows), on_stack=True):
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
            asm.move(pointer, first, f"{asm.name_of(pointer)}: to the first pixel that is used")
        if self.strip:
            self.strip.start(self.x, begin)
            self.bands = Share(asm, "rows of y", self.y_layout.h, self.band_rows, asm.gp.alloc("temporary"))
        if self.codes is not None:
            x86.IMUL(offset, begin, self.y_layout.code_sample_bytes)
            x86.ADD(self.codes, offset)
        if self.bias is not None:
            x86.LEA(self.bias, [self.w + self.weights.bias_offset_bytes])
        asm.gp.free(offset, begin)

    def _code_row_bytes(self) -> int:
        return self.y_layout.w * self.y_layout.code_pixel_bytes

    def _facts(self) -> Facts:
        spec, conv, x, y, w = self.spec, self.conv, self.conv.x, self.y_layout, self.weights
        ctype = dtype_tag(y.dtype)
        bias = "b[oc] + " if conv.bias else ""
        row, col = (f"{o}*{s}" if s > 1 else o for o, s in (("oh", conv.sh), ("ow", conv.sw)))
        source = f"x[n,c,{row}+i-{conv.pt},{col}+j-{conv.pl}]"
        act = call(spec.act, "z")
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
            title=f"{self.spec.text}  {x.n} x c{x.c} h{x.h} w{x.w} -> c{y.c} h{y.h} w{y.w}",
            source=self.source,
            formula=tuple(formula),
            arguments=tuple(arguments),
            slice_unit=f"samples, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=x_bytes(conv) + w.size_bytes,
            bytes_written=y.n * y.n_c_blocks * y.h * y.w * y.pixel_bytes
            + (y.n * y.code_sample_bytes if spec.codes else 0),
            tile=self.tile_text,
            notes=self.notes,
        )
