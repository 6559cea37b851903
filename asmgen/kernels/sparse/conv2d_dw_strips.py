"""What the weight gradients behind a max pool share: the walk over strips of pooled pixels and blocks of the slice.

Loops: samples, strips of pooled rows, parts of a row, blocks of V output channels; the body sums one block over one
strip. The sums rest in dw meanwhile, which is zeroed first. Pointers of these loops live on the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.listing import Argument
from asmgen.kernels.common.loops import Share
from asmgen.kernels.input.pixel_strip import PixelStrip, x_argument, x_bytes, x_formula, x_index
from asmgen.plan.layout import ConvWeights, ConvWeightsByInput
from asmgen.plan.specs import Conv2dBackwardWeightsPooled, Conv2dBackwardWeightsSparse
from asmgen.tile.common.remainder import parts


@dataclass(frozen=True)
class Slots:
    """Stack slots with pointers: into x, dy, codes, dw, db. x is at the pixel under tap (0, 0)."""

    x: Any
    dy: Any
    codes: Any
    dw: Any
    db: Any


class Strips:
    """The slice of a kernel, and loops over it. All slots but those of `block` describe the slice in the current strip.

    dw_block_bytes: from an output-channel block of dw to the next. pixels: the strip that stands for x, if x is not
    stored. Takes all arguments.
    """

    def __init__(
        self,
        asm: Assembler,
        spec: Conv2dBackwardWeightsSparse | Conv2dBackwardWeightsPooled,
        dw_block_bytes: int,
        bias_offset_bytes: int,
        pixels: PixelStrip | None = None,
    ) -> None:
        self.asm, self.spec, self.conv, self.dy, self.pixels = asm, spec, spec.conv, spec.dy, pixels
        self.x = pixels.layout if pixels else spec.conv.x
        self._steps = (self.dy.plane_bytes, self._code_plane_bytes, dw_block_bytes, self.dy.pixel_bytes)
        self._bias_offset_bytes = bias_offset_bytes
        names = [field.name for field in fields(Slots)]
        self.slice = Slots(*(asm.stack_slot(f"{name} of the slice") for name in names))
        self.block = Slots(self.slice.x, *(asm.stack_slot(f"{name} of the block") for name in names[1:]))
        self.n_blocks = asm.stack_slot("blocks in the slice")

    @property
    def _code_plane_bytes(self) -> int:
        return self.dy.h * self.dy.w * self.dy.code_pixel_bytes

    def seek(self, done: Any) -> Any:
        """Point at the slice's first block, or go to `done` if it is empty; gives dw's argument register."""
        asm, dy, at = self.asm, self.dy, self.slice
        x, dy_first, codes = (asm.argument(index, name) for index, name in enumerate(("x", "dy", "codes")))
        dw, begin, n_blocks = asm.argument(3, "dw"), asm.argument(4, "begin"), asm.argument(5, "blocks in the slice")
        temp = asm.gp.alloc("temporary")
        x86.SUB(n_blocks, begin)
        x86.JZ(done)
        x86.MOV(self.n_blocks, n_blocks)
        if self.pixels:
            self.pixels.start(x)
        asm.comment("the slice's first output channels; x at the pixel under tap (0, 0) of output pixel (0, 0)")
        if not self.pixels:
            asm.move(x, self.x.offset_bytes(h=-self.conv.pt, w=-self.conv.pl), "x: at tap (0, 0), in the halo")
            x86.MOV(at.x, x)
        starts = [(at.dy, dy_first, dy.offset_bytes()), (at.codes, codes, 0), (at.dw, dw, 0)]
        starts.append((at.db, dw, self._bias_offset_bytes))
        for (slot, tensor, offset), step in zip(starts, self._steps, strict=True):
            if self._has(slot):
                x86.IMUL(temp, begin, step)
                x86.LEA(temp, [tensor + temp * 1 + offset])
                x86.MOV(slot, temp)
        asm.gp.free(x, dy_first, codes, begin, n_blocks, temp)
        return dw

    def rest_in(self, sums: Any, block_bytes: int, temp: Any) -> Any:
        """From now on, dw of the slice and the block are at the address `sums`, `block_bytes` apart, in a copy that the
        kernel moves to dw at the end. Gives the slot of dw; temp = sums.
        """
        slot = self.asm.stack_slot("dw")
        x86.MOV(temp, self.slice.dw)
        x86.MOV(slot, temp)
        x86.LEA(temp, [sums])
        x86.MOV(self.slice.dw, temp)
        self._steps = (*self._steps[:2], block_bytes, self._steps[3])
        return slot

    def _has(self, slot: Any) -> bool:
        """Whether the kernel has this tensor: codes need a pool, db a bias."""
        if slot in (self.slice.codes, self.block.codes):
            return self.spec.pool is not None
        return self.conv.bias or slot not in (self.slice.db, self.block.db)

    def clear_bias(self, at: Any, left: Any, zero: Any) -> None:
        """db of the slice = 0."""
        x86.MOV(at, self.slice.db)
        x86.MOV(left, self.n_blocks)
        with self.asm.loop("clear_bias", "blocks", left):
            self.asm.v.store([at], zero)
            self.asm.move(at, self.dy.pixel_bytes, "db: next vector")

    def visit(self, n_rows: int, n_cols: int, body: Callable[[Share, int], None]) -> None:
        """For every block of every strip of at most n_rows x n_cols pooled pixels: body(rows, columns)."""
        asm, conv, x, dy, pool = self.asm, self.conv, self.x, self.dy, self.spec.pool
        row_step, column_step = (pool.sh, pool.sw) if pool else (1, 1)
        temp = asm.gp.alloc("temporary")
        rows = Share(asm, "rows of dy", dy.h, n_rows, temp)
        row = (row_step * conv.sh * x.row_bytes, dy.row_bytes, dy.w * dy.code_pixel_bytes)
        column = (column_step * conv.sw * x.pixel_bytes, dy.pixel_bytes, dy.code_pixel_bytes)
        sample = (x.sample_bytes, dy.sample_bytes, dy.code_sample_bytes)
        n_strips = -(-dy.h // n_rows)
        pixels = self.pixels
        with asm.loop("n", conv.x.n, on_stack=True):
            rows.restart()
            if pixels:
                pixels.open_samples()
            with asm.loop("strip", n_strips, on_stack=True):
                rows.next()
                if pixels:
                    pixels.fill()
                    pixels.origin(temp)
                    x86.MOV(self.slice.x, temp)
                    pixels.next_rows()
                for count, extent in parts(dy.w, n_cols):
                    with asm.loop("part", count, on_stack=True):
                        self._visit_blocks(rows, extent, temp, body)
                        self._advance([extent * step for step in column], "next part of the rows")
                steps = [n_rows * step - dy.w * back for step, back in zip(row, column, strict=True)]
                self._advance(steps, "next strip of rows", moves_x=not pixels)
            steps = [step - n_strips * n_rows * back for step, back in zip(sample, row, strict=True)]
            self._advance(steps, "next sample", moves_x=not pixels)
            if pixels:
                pixels.next_samples()
        asm.gp.free(temp)

    def _advance(self, steps: list[int], where: str, *, moves_x: bool = True) -> None:
        at = self.slice
        for slot, step, moves in zip((at.x, at.dy, at.codes), steps, (moves_x, True, True), strict=True):
            if moves and self._has(slot):
                self.asm.move(slot, step, f"{self.asm.name_of(slot)}: {where}")

    def _visit_blocks(self, rows: Share, n_cols: int, temp: Any, body: Callable[[Share, int], None]) -> None:
        at, block = self.slice, self.block
        moving = [(block.dy, at.dy), (block.codes, at.codes), (block.dw, at.dw), (block.db, at.db)]
        for slot, start in moving:
            if self._has(slot):
                x86.MOV(temp, start)
                x86.MOV(slot, temp)
        x86.MOV(temp, self.n_blocks)
        with self.asm.loop("oc_block", "blocks", temp, on_stack=True):
            body(rows, n_cols)
            for (slot, _), step in zip(moving, self._steps, strict=True):
                if self._has(slot):
                    self.asm.move(slot, step, f"{self.asm.name_of(slot)}: next block of output channels")

    # the header -----------------------------------------------------------------------------------------------------

    def formula(self) -> tuple[str, ...]:
        """dw and db as sums over pooled pixels, for the header."""
        conv, x, dy, weights, pool = self.conv, self.conv.x, self.dy, self.conv.weights, self.spec.pool
        row, column = x_index("oh", conv.sh, "i", conv.pt), x_index("ow", conv.sw, "j", conv.pl)
        shape = f"{weights.oc},{weights.c},{weights.kh},{weights.kw}"
        over = f"n<{x.n}, h<{dy.h}, w<{dy.w}"
        where = "oh = h, ow = w"
        if pool:
            where = f"oh = h*{pool.sh} + code[n,oc,h,w] / {pool.pw}, ow = w*{pool.sw} + code[n,oc,h,w] % {pool.pw}"
        lines = [f"dw[{shape}][oc,c,i,j] = sum over {over} of dy[n,oc,h,w] * x[n,c,{row},{column}]", where]
        if conv.bias:
            lines.append(f"db[{weights.oc}][oc] = sum over n, h, w of dy[n,oc,h,w]")
        return (*lines, *x_formula(conv))

    def arguments(self, weights: ConvWeights | ConvWeightsByInput) -> tuple[Argument, ...]:
        """The four of every kernel of this kind; weights: the layout of dw."""
        dy, ctype = self.dy, "f32" if self.dy.dtype == "float32" else "f64"
        codes = f"[{dy.n}][{dy.n_c_blocks}][{dy.h}][{dy.w}][{dy.block}]"
        dw = str(weights) if self.conv.bias else str(weights).removesuffix(" + bias")
        return (
            x_argument(self.conv),
            Argument("rsi", "dy", ctype, str(dy), "in", "pad lanes are zero"),
            Argument("rdx", "codes", "u8", codes, "in", "" if self.spec.pool else "not read"),
            Argument("rcx", "dw", ctype, dw, "out"),
        )

    def traffic(self, weights: ConvWeights | ConvWeightsByInput) -> tuple[int, int]:
        """(bytes read, bytes written) by a call over the whole slice."""
        codes = self.dy.n * self.dy.code_sample_bytes if self.spec.pool else 0
        written = weights.size_bytes if self.conv.bias else weights.bias_offset_bytes
        return x_bytes(self.conv) + self.dy.size_bytes + codes, written
