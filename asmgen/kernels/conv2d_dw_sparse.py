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
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.live_lists import LiveLists
from asmgen.kernels.share import Share
from asmgen.kernels.window import add
from asmgen.plan.specs import Conv2dBackwardWeightsSparse
from asmgen.tile.conv2d_dw_sparse import Tile, choose_tile
from asmgen.tile.split import parts


def emit(spec: Conv2dBackwardWeightsSparse, isa: Isa) -> Listing:
    """The kernel of one shape: rdi x, rsi dy, rdx codes, rcx dw (overwritten), slice of blocks of V output channels."""
    return _Kernel(spec, isa, choose_tile(spec, isa)).emit()


class _Kernel:
    """Loops of one kernel. Pointers of the outer loops live on the stack and move by immediates."""

    def __init__(self, spec: Conv2dBackwardWeightsSparse, isa: Isa, tile: Tile) -> None:
        self.spec, self.tile = spec, tile
        self.conv, self.x, self.dy = spec.conv, spec.conv.x, spec.dy
        self.weights = spec.conv.weights.by_input()
        self.window = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
        self.asm = Assembler(isa, spec.dy.dtype, spec.symbol(isa.name))
        self.n_strips = -(-self.dy.h // tile.rows)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            done = asm.label("done")
            self.lists = LiveLists(asm, self.spec, self.tile)
            self._seek_slice(done)
            self._clear_slice()
            self._sum_all_strips()
            asm.place(done)
        return asm.finish(self._facts())

    # set-up ---------------------------------------------------------------------------------------------------------

    def _seek_slice(self, done: Any) -> None:
        """Slots: where the strip and the slice begin in every tensor, and how much the slice holds."""
        asm, dy, weights = self.asm, self.dy, self.weights
        x, dy_first = asm.argument(0, "x"), asm.argument(1, "dy")
        codes = asm.argument(2, "codes") if self.spec.pool else None
        dw, begin, n_blocks = asm.argument(3, "dw"), asm.argument(4, "begin"), asm.argument(5, "blocks in the slice")
        asm.release_arguments()
        temp = asm.gp.alloc("temporary")
        self.x_strip, self.dy_strip, self.codes_strip = asm.stack_slot(), asm.stack_slot(), asm.stack_slot()
        self.dw_slice, self.db_slice = asm.stack_slot(), asm.stack_slot()
        self.n_blocks, self.n_oc = asm.stack_slot(), asm.stack_slot()

        x86.SUB(n_blocks, begin)
        x86.JZ(done)
        x86.MOV(self.n_blocks, n_blocks)
        asm.comment("the slice's first output channel; x at the pixel under tap (0, 0) of output pixel (0, 0)")
        add(x, self.x.offset_bytes(h=-self.conv.pt, w=-self.conv.pl))
        x86.MOV(self.x_strip, x)
        x86.IMUL(temp, begin, dy.plane_bytes)
        x86.LEA(dy_first, [dy_first + temp * 1 + dy.offset_bytes()])
        x86.MOV(self.dy_strip, dy_first)
        if codes is not None:
            x86.IMUL(temp, begin, dy.h * dy.w * dy.code_pixel_bytes)
            x86.ADD(codes, temp)
            x86.MOV(self.codes_strip, codes)
        if self.conv.bias:
            x86.IMUL(temp, begin, dy.pixel_bytes)
            x86.LEA(temp, [dw + temp * 1 + weights.bias_offset_bytes])
            x86.MOV(self.db_slice, temp)
        x86.IMUL(temp, begin, weights.block * weights.oc_bytes)
        x86.ADD(dw, temp)
        x86.MOV(self.dw_slice, dw)
        asm.comment("output channels in the slice: the last block may have fewer than V")
        x86.IMUL(begin, begin, weights.block)
        x86.NEG(begin)
        x86.ADD(begin, weights.oc)
        x86.IMUL(n_blocks, n_blocks, weights.block)
        self._at_most(n_blocks, begin)
        x86.MOV(self.n_oc, n_blocks)
        asm.gp.free(x, dy_first, dw, begin, n_blocks, temp)
        if codes is not None:
            asm.gp.free(codes)

    def _at_most(self, register: Any, limit: Any) -> None:
        """register = min(register, limit)."""
        within = self.asm.label("within")
        x86.CMP(register, limit)
        x86.JLE(within)
        x86.MOV(register, limit)
        self.asm.place(within)

    def _clear_slice(self) -> None:
        asm, weights = self.asm, self.weights
        asm.comment("dw = 0 (and db = 0): the sums start here")
        zero = asm.vec.alloc("zero")
        block, at, left = asm.gp.alloc("dw of a channel block"), asm.gp.alloc("dw"), asm.gp.alloc("left")
        asm.v.zero(zero)
        x86.MOV(block, self.dw_slice)
        with asm.loop("clear", weights.n_c_blocks):
            x86.MOV(at, block)
            x86.IMUL(left, self.n_oc, weights.kh * weights.kw)
            with asm.loop("vector", "vectors of a channel block", left):
                asm.v.store([at], zero)
                x86.ADD(at, weights.tap_bytes)
            add(block, weights.c_block_bytes)
        if self.conv.bias:
            x86.MOV(at, self.db_slice)
            x86.MOV(left, self.n_blocks)
            with asm.loop("clear_bias", "blocks", left):
                asm.v.store([at], zero)
                x86.ADD(at, self.dy.pixel_bytes)
        asm.gp.free(block, at, left)
        asm.vec.free(zero)

    # loops ----------------------------------------------------------------------------------------------------------

    def _sum_all_strips(self) -> None:
        asm, tile, conv, x, dy = self.asm, self.tile, self.conv, self.x, self.dy
        ph, pw = self.window
        temp = asm.gp.alloc("temporary")
        rows = Share(asm, dy.h, tile.rows, temp)
        strip_rows = (ph * conv.sh * x.row_bytes, dy.row_bytes, dy.w * dy.code_pixel_bytes)
        strip_cols = (pw * conv.sw * x.pixel_bytes, dy.pixel_bytes, dy.code_pixel_bytes)
        with asm.loop("n", x.n, on_stack=True):
            rows.restart()
            with asm.loop("strip", self.n_strips, on_stack=True):
                rows.next()
                for count, n_cols in parts(dy.w, tile.cols):
                    with asm.loop("part", count, on_stack=True):
                        self._sum_strip(rows, n_cols, temp)
                        self._advance(*(n_cols * step for step in strip_cols))
                self._advance(
                    *(tile.rows * step - dy.w * back for step, back in zip(strip_rows, strip_cols, strict=True))
                )
            seen = self.n_strips * tile.rows
            samples = (x.sample_bytes, dy.sample_bytes, dy.code_sample_bytes)
            self._advance(*(step - seen * back for step, back in zip(samples, strip_rows, strict=True)))
        asm.gp.free(temp)

    def _advance(self, x_bytes: int, dy_bytes: int, codes_bytes: int) -> None:
        add(self.x_strip, x_bytes)
        add(self.dy_strip, dy_bytes)
        if self.spec.pool:
            add(self.codes_strip, codes_bytes)

    def _sum_strip(self, rows: Share, n_cols: int, temp: Any) -> None:
        """All output channels of the slice over one strip."""
        asm, dy, weights = self.asm, self.dy, self.weights
        moving = [(self.dy_strip, dy.plane_bytes), (self.dw_slice, weights.block * weights.oc_bytes)]
        if self.spec.pool:
            moving.append((self.codes_strip, dy.h * dy.w * dy.code_pixel_bytes))
        if self.conv.bias:
            moving.append((self.db_slice, dy.pixel_bytes))
        slots = [asm.stack_slot() for _ in moving]
        oc_left = asm.stack_slot()
        for slot, (start, _) in zip(slots, moving, strict=True):
            x86.MOV(temp, start)
            x86.MOV(slot, temp)
        x86.MOV(temp, self.n_oc)
        x86.MOV(oc_left, temp)
        x86.MOV(temp, self.n_blocks)
        with asm.loop("oc_block", "blocks", temp, on_stack=True):
            dy_at = asm.gp.alloc("dy")
            x86.MOV(dy_at, slots[0])
            codes_at = db = None
            if self.spec.pool:
                codes_at = asm.gp.alloc("codes")
                x86.MOV(codes_at, slots[2])
            if self.conv.bias:
                db = asm.gp.alloc("db")
                x86.MOV(db, slots[-1])
            self.lists.build(rows, n_cols, dy_at, codes_at, db)
            asm.gp.free(*(register for register in (dy_at, codes_at, db) if register is not None))
            self._walk_lists(slots[1], oc_left)
            for slot, (_, step) in zip(slots, moving, strict=True):
                add(slot, step)
            x86.SUB(oc_left, weights.block)

    def _walk_lists(self, dw_block: Any, oc_left: Any) -> None:
        """Loops over channel blocks, groups of taps and the output channels of one block."""
        asm, tile, weights = self.asm, self.tile, self.weights
        x_at, dw_at = asm.gp.alloc("x of the strip"), asm.gp.alloc("dw of these channel blocks")
        dw, list_at, n_oc = asm.gp.alloc("dw"), asm.gp.alloc("list"), asm.gp.alloc("output channels left")
        x86.MOV(x_at, self.x_strip)
        x86.MOV(dw_at, dw_block)
        n_taps = weights.kh * weights.kw
        for count, c_blocks in parts(weights.n_c_blocks, tile.c_blocks):
            with asm.loop("c", count, on_stack=True):
                for first in range(0, n_taps, tile.taps):
                    x86.MOV(dw, dw_at)
                    x86.LEA(list_at, [self.lists.lists])
                    x86.MOV(n_oc, weights.block)
                    if weights.oc % weights.block:
                        self._at_most(n_oc, oc_left)
                    with asm.loop("oc", "V, or what the last block has", n_oc):
                        self._sum_channel(c_blocks, range(first, min(first + tile.taps, n_taps)), x_at, dw, list_at)
                        add(dw, weights.oc_bytes)
                        add(list_at, self.lists.stride)
                add(x_at, c_blocks * self.x.plane_bytes)
                add(dw_at, c_blocks * weights.c_block_bytes)
        asm.gp.free(x_at, dw_at, dw, list_at, n_oc)

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
        asm.comment(f"{c_blocks} channel blocks x taps {taps[0]}..{taps[-1]}: the sums so far")
        for register, offset in zip(acc, dw_offset, strict=True):
            asm.v.load(register, [dw + offset])

        def entry(pixel: Any, gradient_at: Any) -> None:
            asm.v.broadcast(gradient, [gradient_at])
            x86.ADD(pixel, x_at)
            for register, offset in zip(acc, x_offset, strict=True):
                asm.v.fma(register, gradient, [pixel + offset])

        self.lists.walk(list_at, entry)
        for register, offset in zip(acc, dw_offset, strict=True):
            asm.v.store([dw + offset], register)
        asm.vec.free(gradient, *acc)

    def _facts(self) -> Facts:
        conv, x, dy, weights, pool = self.conv, self.x, self.dy, self.weights, self.spec.pool
        ctype = "f32" if dy.dtype == "float32" else "f64"
        ph, pw = self.window
        over = f"n<{x.n}, h<{dy.h}, w<{dy.w} with dy != 0"
        row = _position("oh", conv.sh, "i", conv.pt)
        column = _position("ow", conv.sw, "j", conv.pl)
        shape = f"{weights.oc},{weights.c},{weights.kh},{weights.kw}"
        formula = [f"dw[{shape}][oc,c,i,j] = sum over {over} of dy[n,oc,h,w] * x[n,c,{row},{column}]"]
        if pool:
            formula.append(f"oh = h*{ph} + code[n,oc,h,w] / {pw}, ow = w*{pw} + code[n,oc,h,w] % {pw}")
        else:
            formula.append("oh = h, ow = w")
        if conv.bias:
            formula.append(f"db[{weights.oc}][oc] = sum over n, h, w of dy[n,oc,h,w]")
        codes = f"[{dy.n}][{dy.n_c_blocks}][{dy.h}][{dy.w}][{dy.block}]"
        dw = str(weights) if conv.bias else str(weights).removesuffix(" + bias")
        return Facts(
            title=f"convolution {weights.kh}x{weights.kw}, gradient of the weights from live entries:"
            f" {x.c}x{x.h}x{x.w} -> {dy.c}x{dy.h}x{dy.w}",
            source="asmgen/kernels/conv2d_dw_sparse.py",
            formula=tuple(formula),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "halo is zero"),
                Argument("rsi", "dy", ctype, str(dy), "in", "pad lanes are zero"),
                Argument("rdx", "codes", "u8", codes, "in", "" if pool else "not read"),
                Argument("rcx", "dw", ctype, dw, "out"),
            ),
            slice_unit=f"blocks of {weights.block} output channels, of {-(-weights.oc // weights.block)}",
            flops=self.spec.flops(),
            bytes_read=x.size_bytes + dy.size_bytes + (dy.n * dy.code_sample_bytes if pool else 0),
            bytes_written=weights.size_bytes if conv.bias else weights.bias_offset_bytes,
            tile=str(self.tile),
            notes=(
                "flop: of the dense sums; the kernel computes the live share of them",
                f"the stack holds {weights.block} lists of at most {self.tile.rows * self.tile.cols} entries"
                f" ({weights.block * self.lists.stride} B) and {self.tile.chunk} staged pixels",
                "every element of dw is one chain over n, strips, h, w in ascending order; between strips it rests in dw",
                *(["db: one chain over n, strips, h, w"] if conv.bias else []),
            ),
        )


def _position(name: str, stride: int, tap: str, pad: int) -> str:
    """`oh*2+i-1`"""
    return f"{name}{f'*{stride}' if stride > 1 else ''}+{tap}{f'-{pad}' if pad else ''}"
