"""What weight gradients behind a max pool for planar inputs share: the loops around a band, the bias, the header."""

from __future__ import annotations

from typing import Protocol

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.kernels.common.loops import Share
from asmgen.kernels.conv.sample_parts import SampleParts
from asmgen.kernels.input.pixel_strip import PixelStrip, x_sample_bytes
from asmgen.kernels.sparse.conv2d_dw_strips import Strips
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts

_BIAS_CHAINS = 4  # independent sums: hides the latency of the addition


class BandTile(Protocol):
    """What the frame wants to know of a tile: pooled rows of a band."""

    @property
    def rows(self) -> int: ...


class PooledGradient:
    """One kernel. source, notes: for the header. sums_bytes: of the frame, for sums that do not rest in dw.

    strip_cols: columns of z that are read from a strip of pixels, if more than ow.
    """

    def __init__(
        self,
        whole: Conv2dBackwardWeightsPooled,
        isa: Isa,
        tile: BandTile,
        source: str,
        notes: tuple[str, ...],
        sums_bytes: int = 0,
        strip_cols: int | None = None,
    ) -> None:
        spec = whole.of_part()
        self.spec, self.conv, self.dy = spec, spec.conv, spec.dy
        self.source, self.notes, self.band_rows, self.tile_text = source, notes, tile.rows, str(tile)
        self.weights = spec.conv.weights
        self.asm = Assembler(isa, spec.dy.dtype, whole.symbol(isa.name))
        self.sums_at = self.asm.scratch(sums_bytes) if sums_bytes else None
        n_rows, _ = spec.pool.extent(tile.rows, 1)
        step = tile.rows * spec.pool.sh
        self.pixels = PixelStrip(self.asm, spec.conv, n_rows, cols=strip_cols, step=step) if spec.conv.pixels else None
        self.x = self.pixels.layout if self.pixels else spec.conv.x
        sample_bytes = x_sample_bytes(spec.conv), self.dy.sample_bytes, self.dy.code_sample_bytes
        self.parts = SampleParts(self.asm, whole, sample_bytes)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            done = asm.label("done")
            weights = self.weights
            self.parts.open()
            self.strips = Strips(asm, self.spec, weights.oc_block_bytes, weights.bias_offset_bytes, self.pixels)
            asm.gp.free(self.strips.seek(done))
            self._clear_slice()
            self._begin()
            self.strips.visit(self.band_rows, self.dy.w, self._sum_block)
            self._end()
            asm.place(done)
            self.parts.close()
        return asm.finish(self.parts.facts(self._facts()))

    def _begin(self) -> None:
        """Before the first sample; dw and db are zero."""

    def _sum_block(self, rows: Share, n_cols: int) -> None:
        """V output channels over one band, `_sum_bias` among them."""
        raise NotImplementedError

    def _end(self) -> None:
        """Behind the last sample."""

    def _clear_slice(self) -> None:
        asm, weights = self.asm, self.weights
        asm.comment("dw = 0 (and db = 0): the sums start here")
        zero, at, left = asm.vec.alloc("zero"), asm.gp.alloc("dw"), asm.gp.alloc("left")
        asm.v.zero(zero)
        x86.MOV(at, self.strips.slice.dw)
        x86.IMUL(left, self.strips.n_blocks, weights.oc_block_bytes // weights.tap_bytes)
        with asm.loop("vector", "vectors of the slice", left):
            asm.v.store([at], zero)
            asm.move(at, weights.tap_bytes, "dw: next vector")
        if self.conv.bias:
            self.strips.clear_bias(at, left, zero)
        asm.gp.free(at, left)
        asm.vec.free(zero)

    def _window_steps(self) -> tuple[int, int]:
        """Bytes of x from a window to the one below, and to the right."""
        conv, pool, x = self.conv, self.spec.pool, self.x
        return pool.sh * conv.sh * x.row_bytes, pool.sw * conv.sw * x.pixel_bytes

    def _sum_bias(self, rows: Share, n_cols: int) -> None:
        """db += the sum of dy over the band."""
        asm, dy = self.asm, self.dy
        chains = [asm.vec.alloc(f"sum[column % {_BIAS_CHAINS} = {k}]") for k in range(min(_BIAS_CHAINS, n_cols))]
        db, dy_at = asm.gp.alloc("db"), asm.gp.alloc("dy")
        asm.comment(f"db, in {len(chains)} chains")
        for register in chains:
            asm.v.zero(register)
        x86.MOV(dy_at, self.strips.block.dy)
        with rows.loop("bias_row", on_stack=True):
            for count, n in parts(n_cols, len(chains)):
                with asm.loop("column", count):
                    for k in range(n):
                        asm.v.add(chains[k], chains[k], [dy_at + k * dy.pixel_bytes])
                    asm.move(dy_at, n * dy.pixel_bytes, f"dy: {advance(n, 'pixel')}")
            asm.move(dy_at, dy.row_bytes - n_cols * dy.pixel_bytes, "dy: next row + halo, first column")
        x86.MOV(db, self.strips.block.db)
        for register in chains[1:]:
            asm.v.add(chains[0], chains[0], register)
        asm.v.add(chains[0], chains[0], [db])
        asm.v.store([db], chains[0])
        asm.gp.free(db, dy_at)
        asm.vec.free(*chains)

    def _facts(self) -> Facts:
        x, dy, weights = self.conv.x, self.dy, self.weights
        bytes_read, bytes_written = self.strips.traffic(weights)
        return Facts(
            title=f"{self.spec.text}  {x.c}x{x.h}x{x.w} -> {dy.c}x{dy.h}x{dy.w}",
            source=self.source,
            formula=self.strips.formula(),
            arguments=self.strips.arguments(weights),
            slice_unit=f"blocks of {weights.block} output channels, 0..{weights.n_oc_blocks}",
            flops=self.spec.flops(),
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            tile=self.tile_text,
            notes=(
                *self.notes,
                *([f"db: chains (column % {_BIAS_CHAINS}) for each band, then added to the sum so far"]
                  if self.conv.bias else []),
            ),
        )  # fmt: skip
