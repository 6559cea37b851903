"""Convolution by Winograd's F(4 x 4, 3 x 3) or F(2 x 2, 3 x 3), forward and input gradient; lanes are output channels.

    y = pool(act(z)),   z[n,oc] = b[oc] + A^T [ sum over c of u[oc,c] * (B^T d[n,c] B) ] A        for every tile of z

A block of tiles goes through three phases while it lies in the cache: its input tiles are transformed into v; for
every group of output vectors, v is multiplied with u into p; and p is transformed into outputs, which are pooled,
activated and stored. v and p live on the kernel's own frame.

A block that would reach beyond z is moved back until it fits, and computes some tiles or pixels again. Which block
writes an output last depends on the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import call
from asmgen.kernels.conv.conv2d_epilogue import Epilogue
from asmgen.kernels.winograd.winograd_algebra import algebra
from asmgen.kernels.winograd.winograd_product import Products
from asmgen.kernels.winograd.winograd_transform import InputTransform, OutputTransform, Row
from asmgen.plan.layout import Image
from asmgen.plan.specs import Activation, Conv2dBackwardInputWinograd, Conv2dForwardWinograd, Pool, dtype_tag
from asmgen.plan.specs.winograd import Correlation
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.winograd.conv2d_winograd import Group, WinogradTile, choose_tile


def emit_forward(spec: Conv2dForwardWinograd, isa: Isa, tile: WinogradTile | None = None) -> Listing:
    """The kernel of one shape: rdi x, rsi u (bias behind), rdx y, rcx codes (both overwritten), slice of samples."""
    asm = Assembler(isa, spec.y.dtype, spec.symbol(isa.name))
    tile = tile or choose_tile(spec, isa)
    kernel = _Kernel(asm, spec.correlation, tile, spec.y, spec.act, spec.pool, spec.codes, spec.conv.bias)
    kernel.emit("x", "y")
    return asm.finish(_forward_facts(spec, tile))


def emit_backward_input(spec: Conv2dBackwardInputWinograd, isa: Isa, tile: WinogradTile | None = None) -> Listing:
    """The kernel of one shape: rdi dz, rsi u (mirrored), rdx dx (overwritten, halo untouched), slice of samples."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    tile = tile or choose_tile(spec, isa)
    _Kernel(asm, spec.correlation, tile, spec.dx, Activation(), None, False, False).emit("dz", "dx")
    return asm.finish(_backward_facts(spec, tile))


@dataclass
class _Kernel:
    """Registers and loops of one kernel. The pointers advance and rewind by immediates as the loops go."""

    asm: Assembler
    what: Correlation
    tile: WinogradTile
    y_layout: Image
    act: Activation
    pool: Pool | None
    has_codes: bool
    has_bias: bool

    def emit(self, source: str, target: str) -> None:
        self.source_name, self.target_name = source, target
        self.v_layout, self.p_layouts = self.tile.scratch(self.what.u)
        self.ph, self.pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        asm, y = self.asm, self.y_layout
        with asm:
            self.v = asm.scratch(self.v_layout.size_bytes)
            self.p = asm.scratch(max(layout.size_bytes for layout in self.p_layouts))
            self._take_registers(source, target)
            with asm.loop("n", "end - begin", self.n_samples):
                self._blocks()
                asm.move(self.x, self.what.source.sample_bytes, "x: next sample")
                asm.move(self.y, y.sample_bytes, "y: next sample")
                self._move_codes(y.code_sample_bytes, "next sample")

    def _take_registers(self, source: str, target: str) -> None:
        asm, what, y = self.asm, self.what, self.y_layout
        self.x, self.u, self.y = asm.argument(0, source), asm.argument(1, "u"), asm.argument(2, target)
        self.codes = asm.argument(3, "codes") if self.has_codes else None
        begin, end = asm.argument(4, "begin"), asm.argument(5, "samples left")
        asm.release_arguments()
        self.bias = asm.gp.alloc("bias") if self.has_bias else None
        offset = asm.gp.alloc("offset of the slice")
        asm.comment("the slice's first sample")
        x86.SUB(end, begin)
        self.n_samples = end
        for pointer, layout, first in (
            (self.x, what.source, what.source.offset_bytes(h=-what.top, w=-what.left)),
            (self.y, y, y.offset_bytes()),
        ):
            x86.IMUL(offset, begin, layout.sample_bytes)
            x86.ADD(pointer, offset)
            asm.move(pointer, first, f"{asm.name_of(pointer)}: to the first pixel that is used")
        if self.codes is not None:
            x86.IMUL(offset, begin, y.code_sample_bytes)
            x86.ADD(self.codes, offset)
        if self.bias is not None:
            x86.LEA(self.bias, [self.u + what.u.bias_offset_bytes])
        asm.gp.free(offset, begin)

    def _move_codes(self, distance: int, where: str) -> None:
        if self.codes is not None:
            self.asm.move(self.codes, distance, f"codes: {where}")

    # loops over blocks ----------------------------------------------------------------------------------------------

    def _blocks(self) -> None:
        """All blocks of a sample; x, y and codes end where they began."""
        asm, tile, what = self.asm, self.tile, self.what
        with asm.loop("block_row", tile.n_rows, on_stack=True) as rows_left:
            with asm.loop("block_col", tile.n_cols, on_stack=True) as cols_left:
                self._block()
                self._step(cols_left, tile.cols * tile.m, tile.n_cols, what.cols, self._right)
            self._right(-what.cols)
            self._step(rows_left, tile.rows * tile.m, tile.n_rows, what.rows, self._down)
        self._down(-what.rows)

    def _step(self, left: Any, step: int, count: int, total: int, move: Callable[[int], None]) -> None:
        """To the next block; the last one ends at `total`, so the step to it is shorter where they do not fit."""
        move(step)
        overlap = count * step - total
        if overlap:
            regular = self.asm.label("regular_step")
            x86.CMP(left, 2)
            x86.JNE(regular)
            self.asm.comment("the last block ends at the image's edge")
            move(-overlap)
            self.asm.place(regular)

    def _right(self, cols: int) -> None:
        """x, y and codes by `cols` pixels of z."""
        self.asm.move(self.x, cols * self.what.source.pixel_bytes, f"{self.source_name}: {advance(cols, 'pixel')}")
        self.asm.move(
            self.y,
            cols // self.pw * self.y_layout.pixel_bytes,
            f"{self.target_name}: {advance(cols // self.pw, 'pixel')}",
        )
        self._move_codes(cols // self.pw * self.y_layout.code_pixel_bytes, advance(cols // self.pw, "pixel"))

    def _down(self, rows: int) -> None:
        y = self.y_layout
        self.asm.move(self.x, rows * self.what.source.row_bytes, f"{self.source_name}: {advance(rows, 'row')} + halo")
        self.asm.move(
            self.y, rows // self.ph * y.row_bytes, f"{self.target_name}: {advance(rows // self.ph, 'row')} + halo"
        )
        self._move_codes(rows // self.ph * y.w * y.code_pixel_bytes, advance(rows // self.ph, "row"))

    # phases of a block ----------------------------------------------------------------------------------------------

    def _block(self) -> None:
        asm, y, u = self.asm, self.y_layout, self.what.u
        self._input()
        for group, p_layout in zip(self.tile.groups, self.p_layouts, strict=True):
            with asm.loop("outputs", group.count, on_stack=True):
                Products(asm, u, self.v_layout, p_layout, self.tile.channels).emit(
                    group.products, self.u, self.v, self.p
                )
                self._output(group, p_layout)
                asm.move(self.u, group.vectors * u.block_bytes, f"u: {advance(group.vectors, 'block')} of outputs")
        asm.move(self.u, -u.n_blocks * u.block_bytes, "u: back to the first block of outputs")
        asm.move(self.y, -u.n_blocks * y.plane_bytes, f"{self.target_name}: back to the first block of channels")
        self._move_codes(-u.n_blocks * y.h * y.w * y.code_pixel_bytes, "back to the first block of channels")
        if self.bias is not None:
            asm.move(self.bias, -u.n_blocks * u.input_bytes, "bias: back to its first vector")

    def _input(self) -> None:
        """v = the transformed tiles of the block."""
        asm, source, v, tile = self.asm, self.what.source, self.v_layout, self.tile
        side = self.what.u.transform.side
        asm.phase("input transform")
        v_at = asm.gp.alloc("v at tile")
        asm.comment("input transform: v = B^T d B of all tiles and channels")
        x86.LEA(v_at, [self.v])
        transform = InputTransform(asm, tile.m)
        with asm.loop("c", source.n_c_blocks):
            with asm.loop("tile_row", tile.rows):
                with asm.loop("tile_col", tile.cols):
                    transform.emit(
                        lambda i, j: self.x + (i * source.row_bytes + j * source.pixel_bytes),
                        lambda i, j: v_at + (i * side + j) * v.position_bytes,
                    )
                    asm.move(self.x, tile.m * source.pixel_bytes, f"{self.source_name}: next tile, {tile.m} pixels on")
                    asm.move(v_at, v.tile_bytes, "v: next tile")
                asm.move(
                    self.x,
                    tile.m * (source.row_bytes - tile.cols * source.pixel_bytes),
                    f"{self.source_name}: next row of tiles",
                )
            asm.move(
                self.x,
                source.plane_bytes - tile.rows * tile.m * source.row_bytes,
                f"{self.source_name}: next block of channels, first tile",
            )
            asm.move(v_at, v.vector_bytes - v.n_tiles * v.tile_bytes, "v: next vector of channels, first tile")
        asm.move(
            self.x, -source.n_c_blocks * source.plane_bytes, f"{self.source_name}: back to the first block of channels"
        )
        asm.gp.free(v_at)
        asm.phase()

    def _output(self, group: Group, p: Any) -> None:
        """The block's outputs of one group; y, codes and the bias move on to the next group."""
        asm, y, tile, m = self.asm, self.y_layout, self.tile, self.tile.m
        side, code_row = self.what.u.transform.side, self.y_layout.w * self.y_layout.code_pixel_bytes
        epilogue = Epilogue(asm, y, self.act, self.pool, self.has_codes)
        transform = OutputTransform(asm, m)

        def finish(first: int, rows: list[Row]) -> None:
            row = first // self.ph
            codes = None if self.codes is None else self.codes + row * code_row
            epilogue.store([[[register] for register in each] for each in rows], self.y + row * y.row_bytes, codes, row)

        asm.phase("output transform")
        p_at = asm.gp.alloc("p at tile")
        asm.comment("output transform: A^T p A + b")
        x86.LEA(p_at, [self.p])
        with asm.loop("g", group.vectors):
            with asm.loop("tile_row", tile.rows):
                with asm.loop("tile_col", tile.cols):
                    transform.emit(lambda i, j: p_at + (i * side + j) * p.position_bytes, self.bias, finish)
                    asm.move(p_at, p.tile_bytes, "p: next tile")
                    asm.move(
                        self.y,
                        m // self.pw * y.pixel_bytes,
                        f"{self.target_name}: next tile, {counted(m // self.pw, 'pixel')} on",
                    )
                    self._move_codes(
                        m // self.pw * y.code_pixel_bytes, f"next tile, {counted(m // self.pw, 'pixel')} on"
                    )
                asm.move(
                    self.y,
                    m // self.ph * y.row_bytes - tile.cols * m // self.pw * y.pixel_bytes,
                    f"{self.target_name}: next row of tiles",
                )
                self._move_codes(
                    m // self.ph * code_row - tile.cols * m // self.pw * y.code_pixel_bytes, "next row of tiles"
                )
            asm.move(
                self.y,
                y.plane_bytes - tile.rows * m // self.ph * y.row_bytes,
                f"{self.target_name}: next block of channels, first tile",
            )
            self._move_codes((y.h - tile.rows * m // self.ph) * code_row, "next block of channels, first tile")
            if self.bias is not None:
                asm.move(self.bias, self.what.u.input_bytes, "bias: next vector")
        asm.gp.free(p_at)
        asm.phase()


def _forward_facts(spec: Conv2dForwardWinograd, tile: WinogradTile) -> Facts:
    conv, x, y, u = spec.conv, spec.conv.x, spec.y, spec.u
    ctype = dtype_tag(y.dtype)
    act = call(spec.act, "z")
    pool = f" {spec.pool.kind} over {spec.pool.ph} x {spec.pool.pw} of" if spec.pool else ""
    bias = "b[oc] + " if conv.bias else ""
    arguments = [
        Argument("rdi", "x", ctype, str(x), "in", "halo and pad lanes are 0"),
        Argument("rsi", "u", ctype, str(u), "in", "by winograd_weights"),
        Argument("rdx", "y", ctype, str(y), "out", "overwritten but for the halo"),
    ]
    if spec.codes:
        assert spec.pool is not None
        what = "first position of the maximum" if spec.pool.kind == "max" else "bit per position: z > 0"
        layout = f"[{y.n}][{y.n_c_blocks}][{y.h}][{y.w}][{y.block}]"
        arguments.append(Argument("rcx", "codes", "u8", layout, "out", what))
    return Facts(
        title=f"{spec.text}  {x.n} x c{x.c} h{x.h} w{x.w} -> c{y.c} h{y.h} w{y.w}",
        source="asmgen/kernels/winograd/conv2d_winograd.py",
        formula=(
            f"z[n,oc,oh,ow] = {bias}sum_c,i,j x[n,c,oh+i-{conv.pt},ow+j-{conv.pl}] * w[oc,c,i,j]"
            f"    i, j < 3, c < {x.c}",
            f"y[n,oc] ={pool} {act}",
            *algebra(u.transform),
        ),
        arguments=tuple(arguments),
        slice_unit=f"samples, 0..{spec.slice_units()}",
        flops=spec.flops(),
        flops_note="of the direct algorithm",
        bytes_read=x.size_bytes + spec.u_bytes,
        bytes_written=y.n * y.n_c_blocks * y.h * y.w * y.pixel_bytes + (y.n * y.code_sample_bytes if spec.codes else 0),
        tile=str(tile),
        notes=_notes(spec.multiplies(), conv.macs),
    )


def _backward_facts(spec: Conv2dBackwardInputWinograd, tile: WinogradTile) -> Facts:
    conv, dz, dx, u = spec.conv, spec.dz, spec.dx, spec.u
    ctype = dtype_tag(dx.dtype)
    return Facts(
        title=f"{spec.text}  {dz.n} x c{dz.c} h{dz.h} w{dz.w} -> c{dx.c} h{dx.h} w{dx.w}",
        source="asmgen/kernels/winograd/conv2d_winograd.py",
        formula=(
            f"dx[n,c,h,w] = sum_oc,i,j dz[n,oc,h+{conv.pt}-i,w+{conv.pl}-j] * w[oc,c,i,j]    i, j < 3, oc < {dz.c}",
            *algebra(u.transform),
        ),
        arguments=(
            Argument("rdi", "dz", ctype, str(dz), "in", "halo and pad lanes are 0"),
            Argument("rsi", "u", ctype, str(u), "in", "by winograd_weights, mirrored"),
            Argument("rdx", "dx", ctype, str(dx), "out", "overwritten but for the halo"),
        ),
        slice_unit=f"samples, 0..{spec.slice_units()}",
        flops=spec.flops(),
        flops_note="of the direct algorithm",
        bytes_read=dz.size_bytes + spec.u_bytes,
        bytes_written=dx.n * dx.n_c_blocks * dx.h * dx.w * dx.pixel_bytes,
        tile=str(tile),
        notes=_notes(spec.multiplies(), conv.macs),
    )


def _notes(multiplies: int, macs: int) -> tuple[str, ...]:
    return (
        f"the products here are {multiplies / macs:.2f} of the direct algorithm's multiply-adds",
        "v[t][k]: channel k of transformed tile t; u[g]: vector g of outputs; p[g][t]: their products' sum",
        "t = B^T d, v = t B; s = A^T p, z = s A; d0, p1, ... in a note: row 0, 1 of d, p; t0, s1, ...: column 0, 1",
        "v[position][tile][channel] and p[position][g][tile][lane] lie on the frame",
    )
