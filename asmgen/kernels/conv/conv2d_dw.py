"""Weight gradient of a convolution: dw[oc,c,i,j] = sum over n,oh,ow of dz[n,oc,oh,ow] * x[n,c,oh*sh+i-pt,ow*sw+j-pl].

Lanes are output channels: vectors of dz are loaded, elements of x broadcast. A tile of dw (some channels, rows and
columns of taps, one or two oc vectors) is summed in registers over one part of dz; then the next tile sums over the
same part, which is still in cache. Between parts the sums rest in dw itself. Every element of dw is therefore one chain
over samples, rows and columns in ascending order, whatever the tile, the parts and the slices. A first layer that reads
pixels makes a strip of x on its frame for every part.
"""

from __future__ import annotations

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.loops import Share, in_steps
from asmgen.kernels.conv.conv2d_dw_tile import Pointers, TileSums
from asmgen.kernels.conv.sample_parts import SampleParts
from asmgen.kernels.input.pixel_strip import PixelStrip, x_argument, x_bytes, x_formula, x_index, x_sample_bytes
from asmgen.plan.specs import Conv2dBackwardWeights
from asmgen.tile.common.count_text import advance
from asmgen.tile.conv.conv2d_dw import Tile, choose_tile


def emit(spec: Conv2dBackwardWeights, isa: Isa, tile: Tile | None = None) -> Listing:
    """The kernel of one shape: rdi x or pixels, rsi dz, rdx dw (overwritten), slice of blocks of V output channels."""
    return _Kernel(spec, isa, tile or choose_tile(spec.of_part(), isa)).emit()


class _Kernel:
    """Registers and loops of one kernel. Pointers advance and rewind by immediates; what must survive is held."""

    def __init__(self, whole: Conv2dBackwardWeights, isa: Isa, tile: Tile) -> None:
        spec = whole.of_part()
        self.spec, self.tile = spec, tile
        self.conv, self.dz, self.weights = spec.conv, spec.dz, spec.conv.weights
        self.asm = Assembler(isa, spec.dz.dtype, whole.symbol(isa.name))
        self.strip = PixelStrip(self.asm, spec.conv, tile.band_rows, tile.samples) if spec.conv.pixels else None
        self.x = self.strip.layout if self.strip else spec.conv.x
        self.parts = SampleParts(self.asm, whole, (x_sample_bytes(spec.conv), self.dz.sample_bytes))
        self.n_bands = -(-self.conv.oh // tile.band_rows)
        self.n_sample_blocks = -(-self.conv.x.n // tile.samples)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            done = asm.label("done")
            self.parts.open()
            self._take_registers()
            x86.SUB(self.n_blocks, self.begin)
            x86.JZ(done)
            self._seek_slice()
            self._clear_slice()
            self._sum_all_parts()
            asm.place(done)
            self.parts.close()
        return asm.finish(self.parts.facts(self._facts()))

    # set-up --------------------------------------------------------------------------------------------------------

    def _take_registers(self) -> None:
        asm = self.asm
        self.x_part, self.dz_part = asm.argument(0, "x of this part"), asm.argument(1, "dz of this part")
        self.dw_slice = asm.argument(2, "dw of the slice")
        self.begin, self.n_blocks = asm.argument(4, "begin"), asm.argument(5, "blocks in the slice")
        asm.release_arguments()
        self.temp = asm.gp.alloc("temporary")

    def _seek_slice(self) -> None:
        """Point at the slice's first block, and at the pixel of x under tap (0, 0) of output pixel (0, 0)."""
        asm, temp = self.asm, self.temp
        asm.comment("the slice's first output-channel block")
        x86.IMUL(temp, self.begin, self.dz.plane_bytes)
        x86.LEA(self.dz_part, [self.dz_part + temp * 1 + self.dz.offset_bytes()])
        if self.strip:
            self.strip.start(self.x_part)
        else:
            asm.move(
                self.x_part, self.x.offset_bytes(h=-self.conv.pt, w=-self.conv.pl), "x: at tap (0, 0), in the halo"
            )
        if self.conv.bias:
            self.db_slice = asm.gp.alloc("db of the slice")
            x86.IMUL(self.db_slice, self.begin, self.weights.tap_bytes)
            x86.LEA(self.db_slice, [self.db_slice + self.dw_slice * 1 + self.weights.bias_offset_bytes])
        x86.IMUL(temp, self.begin, self.weights.oc_block_bytes)
        x86.ADD(self.dw_slice, temp)
        asm.gp.free(self.begin)
        self.at = Pointers(
            x_tap=asm.gp.alloc("x of this tile's first tap"),
            x_at=asm.gp.alloc("x"),
            dz_block=asm.gp.alloc("dz of these oc blocks"),
            dz_at=asm.gp.alloc("dz"),
            dw=asm.gp.alloc("dw"),
            db=asm.gp.alloc("db") if self.conv.bias else None,
        )

    def _clear_slice(self) -> None:
        asm = self.asm
        asm.comment("dw = 0 (and db = 0): the sums start here")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        x86.MOV(self.at.dw, self.dw_slice)
        if self.conv.bias:
            x86.MOV(self.at.db, self.db_slice)
        x86.MOV(self.temp, self.n_blocks)
        with asm.loop("clear", "blocks", self.temp):
            with asm.loop("vector", self.weights.oc_block_bytes // self.weights.tap_bytes):
                asm.v.store([self.at.dw], zero)
                asm.move(self.at.dw, self.weights.tap_bytes, "dw: next vector")
            if self.conv.bias:
                asm.v.store([self.at.db], zero)
                asm.move(self.at.db, self.weights.tap_bytes, "db: next vector")
        asm.vec.free(zero)

    # loops over parts of dz, oc blocks, tiles ----------------------------------------------------------------------

    def _sum_all_parts(self) -> None:
        """Outer loops: samples (or several small ones together), bands of output rows."""
        asm, tile, conv, strip = self.asm, self.tile, self.conv, self.strip
        samples = Share(asm, "samples", conv.x.n, tile.samples, self.temp)
        rows = Share(asm, "rows of dz", conv.oh, tile.band_rows, self.temp)
        self.sums = TileSums(asm, self.spec, self.x, tile, self.at, samples, rows)
        samples.restart()
        with asm.loop("n", self.n_sample_blocks, on_stack=True):
            samples.next()
            rows.restart()
            if strip:
                strip.open_samples()
            with asm.loop("band", self.n_bands, on_stack=True):
                rows.next()
                if strip:
                    self._fill(strip, samples)
                self._sum_part()
                if strip:
                    strip.next_rows()
                else:
                    asm.move(self.x_part, tile.band_rows * conv.sh * self.x.row_bytes, "x: rows of the next band")
                asm.move(self.dz_part, tile.band_rows * self.dz.row_bytes, "dz: rows of the next band")
            seen_rows = self.n_bands * tile.band_rows
            if strip:
                strip.next_samples()
            else:
                asm.move(
                    self.x_part,
                    tile.samples * self.x.sample_bytes - seen_rows * conv.sh * self.x.row_bytes,
                    f"x: {advance(tile.samples, 'sample')}, first band",
                )
            asm.move(
                self.dz_part,
                tile.samples * self.dz.sample_bytes - seen_rows * self.dz.row_bytes,
                f"dz: {advance(tile.samples, 'sample')}, first band",
            )

    def _fill(self, strip: PixelStrip, samples: Share) -> None:
        """The part of x; the pointers into a part hold nothing yet."""
        idle = [pointer for pointer in vars(self.at).values() if pointer is not None]
        with self.asm.gp.lent(*idle):
            strip.fill(samples)
        strip.origin(self.x_part)

    def _sum_part(self) -> None:
        """All tiles of the slice over one part."""
        asm = self.asm
        x86.MOV(self.at.dz_block, self.dz_part)
        x86.MOV(self.at.dw, self.dw_slice)
        if self.conv.bias:
            x86.MOV(self.at.db, self.db_slice)
        for oc_vectors in range(self.tile.oc_vectors, 0, -1):
            x86.MOV(self.temp, self.n_blocks)
            if self.tile.oc_vectors == 2 and oc_vectors == 2:
                x86.SHR(self.temp, 1)
                trips, name = "blocks / 2", "pair"
            elif self.tile.oc_vectors == 2:
                x86.AND(self.temp, 1)
                trips, name = "blocks % 2", "odd"
            else:
                trips, name = "blocks", "oc"
            with asm.loop(name, trips, self.temp, on_stack=True):
                self._sum_oc_blocks(oc_vectors)
                if self.conv.bias:
                    self.sums.sum_bias(oc_vectors)
                    asm.move(self.at.db, oc_vectors * self.weights.tap_bytes, f"db: {advance(oc_vectors, 'vector')}")
                asm.move(
                    self.at.dz_block,
                    oc_vectors * self.dz.plane_bytes,
                    f"dz: {advance(oc_vectors, 'block')} of output channels",
                )

    def _sum_oc_blocks(self, oc_vectors: int) -> None:
        """Loops over the tiles of one or two oc blocks: channels, kernel rows, kernel columns."""
        weights, tile, x = self.weights, self.tile, self.x
        x86.MOV(self.at.x_tap, self.x_part)

        def channels(n_channels: int) -> None:
            in_steps(self.asm, "i", weights.kh, tile.kernel_rows, lambda n_rows: kernel_rows(n_channels, n_rows))
            self.asm.move(self.at.x_tap, -weights.kh * x.row_bytes, "x: back to tap row 0")
            self.asm.move(self.at.dw, (n_channels - 1) * weights.channel_bytes, "dw: taps of the next channels")
            self._next_channels(n_channels)

        def kernel_rows(n_channels: int, n_rows: int) -> None:
            in_steps(self.asm, "j", weights.kw, tile.kernel_cols, lambda n_cols: columns(n_channels, n_rows, n_cols))
            self.asm.move(
                self.at.x_tap,
                n_rows * x.row_bytes - weights.kw * x.pixel_bytes,
                f"x: {advance(n_rows, 'tap row')}, column 0",
            )
            self.asm.move(
                self.at.dw, (n_rows - 1) * weights.kw * weights.tap_bytes, f"dw: {advance(n_rows, 'tap row')}"
            )

        def columns(n_channels: int, n_rows: int, n_cols: int) -> None:
            self.sums.sum_tile(oc_vectors, n_channels, n_rows, n_cols)
            self.asm.move(self.at.x_tap, n_cols * x.pixel_bytes, f"x: {advance(n_cols, 'tap')}")
            self.asm.move(self.at.dw, n_cols * weights.tap_bytes, f"dw: {advance(n_cols, 'tap')}")

        in_steps(self.asm, "c", weights.c, tile.channels, channels)
        self.asm.move(
            self.at.dw,
            (oc_vectors - 1) * weights.oc_block_bytes,
            f"dw: {advance(oc_vectors, 'block')} of output channels",
        )

    def _next_channels(self, n_channels: int) -> None:
        """Advance x to the next channels: inside its block, to the next block, or by whole blocks."""
        x = self.x
        if n_channels % x.block == 0:
            self.asm.move(
                self.at.x_tap,
                n_channels // x.block * x.plane_bytes,
                f"x: {advance(n_channels // x.block, 'block')} of channels",
            )
            return
        self.asm.move(self.at.x_tap, n_channels * x.element_bytes, f"x: {advance(n_channels, 'channel')} of the block")
        if x.n_c_blocks > 1 and x.block % n_channels == 0:
            same_block = self.asm.label("same_block")
            x86.TEST(self.at.x_tap, x.pixel_bytes - 1)
            self.asm.note("pixels are aligned: lane 0 again, the block is through")
            x86.JNZ(same_block)
            self.asm.move(self.at.x_tap, x.plane_bytes - x.pixel_bytes, "x: next block of channels, lane 0")
            self.asm.place(same_block)

    def _facts(self) -> Facts:
        conv, x, dz, weights, tile = self.conv, self.conv.x, self.dz, self.weights, self.tile
        ctype = "f32" if dz.dtype == "float32" else "f64"
        over = f"n<{x.n}, oh<{conv.oh}, ow<{conv.ow}"
        row, column = x_index("oh", conv.sh, "i", conv.pt), x_index("ow", conv.sw, "j", conv.pl)
        shape = f"{weights.oc},{weights.c},{weights.kh},{weights.kw}"
        formula = [f"dw[{shape}][oc,c,i,j] = sum over {over} of dz[n,oc,oh,ow] * x[n,c,{row},{column}]"]
        if conv.bias:
            formula.append(f"db[{weights.oc}][oc] = sum over n, oh, ow of dz[n,oc,oh,ow]")
        formula += x_formula(conv)
        return Facts(
            title=f"{self.spec.text}  {x.c}x{x.h}x{x.w} -> {dz.c}x{dz.h}x{dz.w}",
            source="asmgen/kernels/conv/conv2d_dw.py",
            formula=tuple(formula),
            arguments=(
                x_argument(conv),
                Argument("rsi", "dz", ctype, str(dz), "in", "pad lanes are zero"),
                Argument(
                    "rdx", "dw", ctype, str(weights) if conv.bias else str(weights).removesuffix(" + bias"), "out"
                ),
            ),
            slice_unit=f"blocks of {weights.block} output channels, 0..{weights.n_oc_blocks}",
            flops=self.spec.flops(),
            bytes_read=x_bytes(conv) + dz.size_bytes,
            bytes_written=weights.size_bytes if conv.bias else weights.bias_offset_bytes,
            tile=str(tile),
            notes=(
                "each column of x is broadcast once and meets the dz columns of all taps of the tile",
                "every element of dw is one chain over n, oh, ow in ascending order; between parts it rests in dw",
                "loop pair: two oc blocks at a time; odd: the last block of a slice with an odd number",
                *(["db: four chains (column % 4) for each part, then added to the sum so far"] if conv.bias else []),
            ),
        )
