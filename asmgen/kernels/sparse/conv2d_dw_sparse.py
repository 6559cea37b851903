"""Weight gradient of a convolution behind a max pool, from the live entries of the pooled gradient only.

Lanes are input channels. For one strip of pooled pixels the live entries of V output channels are listed
(live_lists.py); then, for one or a few blocks of input channels, whose strip of x stays in L1, every output channel
walks its list with its taps in registers: an entry's gradient is broadcast and multiplied with the aligned vectors of x
around the pixel that its argmax code names. Between strips the sums rest in dw.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.kernels.common.loops import Share
from asmgen.kernels.conv.sample_parts import SampleParts
from asmgen.kernels.sparse.conv2d_dw_strips import Strips
from asmgen.kernels.sparse.live_lists import LiveLists
from asmgen.plan.specs import Conv2dBackwardWeightsSparse
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.sparse.conv2d_dw_sparse import Tile, choose_tile


def emit(spec: Conv2dBackwardWeightsSparse, isa: Isa, tile: Tile | None = None) -> Listing:
    """The kernel of one shape: rdi x, rsi dy, rdx codes, rcx dw (overwritten), slice of blocks of V output channels."""
    return _Kernel(spec, isa, tile or choose_tile(spec.of_part(), isa)).emit()


class _Kernel:
    def __init__(self, whole: Conv2dBackwardWeightsSparse, isa: Isa, tile: Tile) -> None:
        spec = whole.of_part()
        self.spec, self.tile, self.x, self.dy = spec, tile, spec.conv.x, spec.dy
        self.weights = spec.conv.weights.by_input()
        self.oc_block_bytes = self.weights.block * self.weights.oc_bytes
        self.asm = Assembler(isa, spec.dy.dtype, whole.symbol(isa.name))
        sample_bytes = self.x.sample_bytes, self.dy.sample_bytes, self.dy.code_sample_bytes
        self.parts = SampleParts(self.asm, whole, sample_bytes)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            done = asm.label("done")
            self.lists = LiveLists(asm, self.spec, self.tile)
            self.parts.open()
            self.strips = Strips(asm, self.spec, self.oc_block_bytes, self.weights.bias_offset_bytes)
            self.oc_end = asm.stack_slot("end of dw")
            dw = self.strips.seek(done)
            asm.move(dw, self.weights.oc * self.weights.oc_bytes, "dw: its end")
            x86.MOV(self.oc_end, dw)
            asm.gp.free(dw)
            self._clear_slice()
            self.strips.visit(self.tile.rows, self.tile.cols, self._sum_block)
            asm.place(done)
            self.parts.close()
        return asm.finish(self.parts.facts(self._facts()))

    def _clear_slice(self) -> None:
        asm, weights = self.asm, self.weights
        asm.comment("dw = 0 (and db = 0): the sums start here")
        zero = asm.vec.alloc("zero")
        block, at, left = asm.gp.alloc("dw of a channel block"), asm.gp.alloc("dw"), asm.gp.alloc("left")
        n_vectors = asm.gp.alloc("vectors of a channel block")
        asm.v.zero(zero)
        x86.MOV(block, self.strips.slice.dw)
        x86.IMUL(n_vectors, self.strips.n_blocks, self.oc_block_bytes)
        x86.MOV(left, self.oc_end)
        x86.SUB(left, block)
        asm.note("the last block may have fewer than V output channels")
        within = asm.label("within")
        x86.CMP(n_vectors, left)
        x86.JLE(within)
        x86.MOV(n_vectors, left)
        asm.place(within)
        x86.SHR(n_vectors, weights.tap_bytes.bit_length() - 1)
        with asm.loop("clear", weights.n_c_blocks, on_stack=True):
            x86.MOV(at, block)
            x86.MOV(left, n_vectors)
            with asm.loop("vector", "vectors of a channel block", left):
                asm.v.store([at], zero)
                asm.move(at, weights.tap_bytes, "dw: next vector")
            asm.move(block, weights.c_block_bytes, "dw: next block of channels")
        if self.spec.conv.bias:
            self.strips.clear_bias(at, left, zero)
        asm.gp.free(block, at, left, n_vectors)
        asm.vec.free(zero)

    def _sum_block(self, rows: Share, n_cols: int) -> None:
        """V output channels over one strip: their lists, then their sums."""
        asm, block = self.asm, self.strips.block
        dy_at = asm.gp.alloc("dy")
        x86.MOV(dy_at, block.dy)
        codes_at = db = None
        if self.spec.pool:
            codes_at = asm.gp.alloc("codes")
            x86.MOV(codes_at, block.codes)
        if self.spec.conv.bias:
            db = asm.gp.alloc("db")
            x86.MOV(db, block.db)
        self.lists.build(rows, n_cols, dy_at, codes_at, db)
        asm.gp.free(*(register for register in (dy_at, codes_at, db) if register is not None))
        self._walk_lists()

    def _walk_lists(self) -> None:
        """Loops over channel blocks, taps that fit and the output channels of one block."""
        asm, tile, weights = self.asm, self.tile, self.weights
        x_at, dw_at = asm.gp.alloc("x of the strip"), asm.gp.alloc("dw of these channel blocks")
        dw, list_at = asm.gp.alloc("dw"), asm.gp.alloc("list")
        n_oc, left = asm.gp.alloc("output channels of the block"), asm.gp.alloc("output channels left")
        x86.MOV(x_at, self.strips.slice.x)
        x86.MOV(dw_at, self.strips.block.dw)
        self._count_channels(n_oc, dw_at)
        n_taps = weights.kh * weights.kw
        for count, c_blocks in parts(weights.n_c_blocks, tile.c_blocks):
            with asm.loop("c", count, on_stack=True):
                for first in range(0, n_taps, tile.taps):
                    x86.MOV(dw, dw_at)
                    x86.LEA(list_at, [self.lists.lists])
                    x86.MOV(left, n_oc)
                    with asm.loop("oc", "V, or what the last block has", left):
                        self._sum_channel(c_blocks, range(first, min(first + tile.taps, n_taps)), x_at, dw, list_at)
                        asm.move(dw, weights.oc_bytes, "dw: next output channel")
                        asm.move(list_at, self.lists.stride, "list: next output channel")
                asm.move(x_at, c_blocks * self.x.plane_bytes, f"x: {advance(c_blocks, 'block')} of channels")
                asm.move(dw_at, c_blocks * weights.c_block_bytes, f"dw: {advance(c_blocks, 'block')} of channels")
        asm.gp.free(x_at, dw_at, dw, list_at, n_oc, left)

    def _count_channels(self, n_oc: Any, dw_block: Any) -> None:
        """n_oc = V, or fewer in the last block."""
        x86.MOV(n_oc, self.weights.block)
        tail = self.weights.oc % self.weights.block
        if tail:
            full, end = self.asm.label("full_block"), self.asm.gp.alloc("end of the block")
            x86.LEA(end, [dw_block + self.oc_block_bytes])
            x86.CMP(end, self.oc_end)
            x86.JBE(full)
            x86.MOV(n_oc, tail)
            self.asm.place(full)
            self.asm.gp.free(end)

    def _sum_channel(self, c_blocks: int, taps: range, x_at: Any, dw: Any, list_at: Any) -> None:
        """dw[c_blocks][taps] of one output channel += its live entries of the strip."""
        asm, x, weights = self.asm, self.x, self.weights
        acc, x_offset, dw_offset = [], [], []
        for c in range(c_blocks):
            for tap in taps:
                i, j = divmod(tap, weights.kw)
                acc.append(asm.vec.alloc(f"acc[c block {c}][tap {i},{j}]"))
                x_offset.append(c * x.plane_bytes + i * x.row_bytes + j * x.pixel_bytes)
                dw_offset.append(c * weights.c_block_bytes + tap * weights.tap_bytes)
        gradient = asm.vec.alloc("gradient broadcast")
        asm.comment(f"{counted(c_blocks, 'channel block')} x taps {taps[0]}..{taps[-1]}: the sums so far")
        for register, offset in zip(acc, dw_offset, strict=True):
            asm.v.load(register, [dw + offset])

        def entry(pixel: Any, gradient_at: Any) -> None:
            asm.v.broadcast(gradient, [gradient_at])
            x86.ADD(pixel, x_at)
            for register, offset in zip(acc, x_offset, strict=True):
                asm.v.fma(register, gradient, [pixel + offset])

        self.lists.walk(list_at, entry)
        asm.comment("the sums rest until the next strip")
        for register, offset in zip(acc, dw_offset, strict=True):
            asm.v.store([dw + offset], register)
        asm.vec.free(gradient, *acc)

    def _facts(self) -> Facts:
        x, dy, weights = self.x, self.dy, self.weights
        bytes_read, bytes_written = self.strips.traffic(weights)
        return Facts(
            title=f"{self.spec.text}  {x.c}x{x.h}x{x.w} -> {dy.c}x{dy.h}x{dy.w}",
            source="asmgen/kernels/sparse/conv2d_dw_sparse.py",
            formula=(*self.strips.formula(), "only terms with dy != 0 are computed"),
            arguments=self.strips.arguments(weights),
            slice_unit=f"blocks of {weights.block} output channels, 0..{self.spec.slice_units()}",
            flops=self.spec.flops(),
            flops_note="of the direct algorithm",
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            tile=str(self.tile),
            notes=(
                "the kernel computes the live share of the direct sums",
                f"stack: {weights.block} lists of {self.lists.stride} B (a count, then the entries: offset of the pixel"
                f" in the strip of x, dy) and {self.tile.chunk} staged pixels",
                "an element of dw is one chain: n and strips ascending, h and w in a strip descending; between strips"
                " it rests in dw",
                *(["db: one chain over n, strips, h, w"] if self.spec.conv.bias else []),
            ),
        )
