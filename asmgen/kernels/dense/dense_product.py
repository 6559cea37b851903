"""c[n,m] = bias[m] + sum_j a[n,j] b[j,m], lanes along m: the dense kernels that broadcast one factor.

A tile of samples x vectors of m stays in registers while the sum runs over j in order; every element is one chain, so
tiles and slices do not change its bits. A column of tiles, over all samples, meets the same part of b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common.activations import activated
from asmgen.kernels.dense.dense_turn import Turned
from asmgen.plan.layout import LINE_BYTES, Rows
from asmgen.plan.specs import Activation
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.dense.dense_product import ProductTile

_NO_ACTIVATION = Activation()


@dataclass(frozen=True)
class Names:
    """What a, b and c, the indices j and m, and the lanes are called in a kernel's comments."""

    a: str
    b: str
    c: str
    j: str
    m: str
    lanes: str


@dataclass(frozen=True)
class Shapes:
    """a [n][terms or more], b [terms][m] with the bytes from row to row and from vector to vector, c [n][m].

    turned: b is the weights with its rows and columns exchanged, of which tiles read a copy.
    """

    a: Rows
    c: Rows
    terms: int
    b_row_bytes: int
    b_vector_bytes: int
    turned: Turned | None = None


def emit_slice(
    asm: Assembler,
    names: Names,
    shapes: Shapes,
    tile: ProductTile,
    pointers: tuple[Any, Any, Any],
    bounds: tuple[Any, Any],
    bias: tuple[Any, int] | None = None,
    act: Activation = _NO_ACTIVATION,
) -> None:
    """All samples of the vectors [begin, end) of m; pointers: registers with a, b, c; all registers are changed.

    bias: a register and the offset of the bias's first vector from it; without: sums start at 0.
    """
    (a, b, c), (begin, end) = pointers, bounds
    copy = asm.scratch(tile.vectors * shapes.turned.vector_bytes) if shapes.turned else None
    done = asm.label("done")
    x86.CMP(begin, end)
    x86.JAE(done)
    asm.comment(f"move {names.b}, {'the bias ' if bias else ''}and {names.c} to the first vector of the slice")
    c_at = asm.gp.take(x86.r10, names.c)  # the division below needs rax and rdx
    x86.SUB(end, begin)
    bias_at = None
    if bias is not None:
        bias_at, offset = asm.gp.take(x86.r11, "bias"), asm.gp.alloc("offset")
        x86.IMUL(offset, begin, asm.isa.vector_bytes)
        x86.LEA(bias_at, [bias[0] + offset * 1 + bias[1]])
        asm.gp.free(offset)
    if shapes.b_vector_bytes != asm.isa.vector_bytes:
        offset = asm.gp.alloc("offset")
        x86.IMUL(offset, begin, shapes.b_vector_bytes)
        x86.ADD(b, offset)
        asm.gp.free(offset)
        x86.IMUL(begin, begin, asm.isa.vector_bytes)
    else:
        x86.IMUL(begin, begin, asm.isa.vector_bytes)
        x86.ADD(b, begin)
    x86.LEA(c_at, [c + begin * 1])
    asm.gp.free(c, begin)
    body = _Body(asm, names, shapes, tile, (a, b, c_at), bias_at, act, copy)
    if tile.vectors == 1:
        body.columns(names.m, "vectors in the slice", end, 1)
    else:
        _tiles_and_singles(asm, body, end)
    asm.place(done)


def _tiles_and_singles(asm: Assembler, body: _Body, count: Any) -> None:
    """Divide the vectors of the slice into tiles and what is left of them, which single-vector tiles do."""
    vectors, m = body.tile.vectors, body.names.m
    quotient, remainder = asm.gp.take(x86.rax, "tiles in the slice"), asm.gp.take(x86.rdx, "vectors left over")
    tiles, singles = asm.gp.alloc(f"{m} tiles left"), asm.gp.alloc(f"{m} singles left")
    x86.MOV(quotient, count)
    x86.XOR(x86.edx, x86.edx)
    x86.MOV(tiles, vectors)
    x86.DIV(tiles)
    x86.MOV(tiles, quotient)
    x86.MOV(singles, remainder)
    asm.gp.free(count, quotient, remainder)
    body.columns(m, f"vectors in the slice / {vectors}", tiles, vectors)
    body.columns(f"{m}1", f"vectors in the slice % {vectors}", singles, 1)


class _Body:
    """The emission of tiles of any height and width, at running pointers into b, c and the bias."""

    def __init__(
        self,
        asm: Assembler,
        names: Names,
        shapes: Shapes,
        tile: ProductTile,
        pointers: tuple[Any, Any, Any],
        bias: Any,
        act: Activation,
        copy: Any,
    ) -> None:
        self.asm, self.names, self.shapes, self.tile = asm, names, shapes, tile
        self.a, self.b, self.c = pointers
        self.bias, self.act, self.copy = bias, act, copy
        # Of b as tiles read it.
        turned = shapes.turned
        self.row_bytes = turned.row_bytes if turned else shapes.b_row_bytes
        self.vector_bytes = turned.vector_bytes if turned else shapes.b_vector_bytes

    def columns(self, name: str, trips: str, count: Any, vectors: int) -> None:
        """`count` times `vectors` columns of c, all samples; b, c and the bias move on."""
        asm, shapes = self.asm, self.shapes
        a_tile, c_tile = asm.gp.alloc(f"{self.names.a} tile"), asm.gp.alloc(f"{self.names.c} tile")
        with asm.loop(name, trips, count):
            if shapes.turned:
                shapes.turned.emit(asm, self.b, self.copy, vectors)
            x86.MOV(a_tile, self.a)
            x86.MOV(c_tile, self.c)
            for n_tiles, samples in parts(shapes.c.n, self.tile.height(vectors)):
                with asm.loop("n", n_tiles):
                    self._tile(samples, vectors, a_tile, c_tile)
                    asm.move(a_tile, samples * shapes.a.sample_bytes, f"{self.names.a}: {advance(samples, 'sample')}")
                    asm.move(c_tile, samples * shapes.c.sample_bytes, f"{self.names.c}: {advance(samples, 'sample')}")
            asm.move(
                self.b,
                vectors * shapes.b_vector_bytes,
                f"{self.names.b}: {advance(vectors, 'vector')} of {self.names.c}",
            )
            asm.move(self.c, vectors * asm.isa.vector_bytes, f"{self.names.c}: {advance(vectors, 'vector')}")
            if self.bias is not None:
                asm.move(self.bias, vectors * asm.isa.vector_bytes, f"bias: {advance(vectors, 'vector')}")
        asm.gp.free(a_tile, c_tile)

    def _tile(self, samples: int, vectors: int, a_tile: Any, c_tile: Any) -> None:
        """c[samples][vectors] = the whole sum."""
        asm, names, shapes, v = self.asm, self.names, self.shapes, self.asm.v
        if shapes.turned:
            asm.phase("products")
        acc = [[asm.vec.alloc(f"acc[{n}][{m}]") for m in range(vectors)] for n in range(samples)]
        b_vec = [asm.vec.alloc(f"{names.b}[{m}]") for m in range(vectors)] if self.tile.holds_b else []
        broadcast = asm.vec.alloc(f"{names.a}[n][{names.j}]")
        start = "0" if self.bias is None else f"b[{names.m}]"
        tile = f"{counted(samples, 'sample')} x {counted(vectors, 'vector')} of {names.lanes}"
        asm.comment(f"acc[n][{names.m}] = {start} for {tile}")
        for row in acc:
            for m, register in enumerate(row):
                if self.bias is None:
                    v.zero(register)
                else:
                    v.load(register, [self.bias + m * asm.isa.vector_bytes])
        a, b = asm.gp.alloc(f"{names.a} at {names.j}"), asm.gp.alloc(f"{names.b} at {names.j}")
        x86.MOV(a, a_tile)
        if self.copy is None:
            x86.MOV(b, self.b)
        else:
            x86.LEA(b, [self.copy])
        asm.comment(f"acc[n][{names.m}] += {names.a}[n][{names.j}] * {names.b}[{names.j}][{names.m}..]")
        for trips, unroll in parts(shapes.terms, min(self.tile.unroll, shapes.terms)):
            with asm.loop(names.j, trips):
                for u in range(unroll):
                    self._multiply(acc, b_vec, broadcast, a, b, u)
                asm.move(a, unroll * asm.element_bytes, f"{names.a}: {advance(unroll, 'feature')}")
                asm.move(b, unroll * self.row_bytes, f"{names.b}: {advance(unroll, 'row')}")
        asm.gp.free(a, b)
        asm.comment("activation, store" if self.act else "store")
        for n, row in enumerate(acc):
            for m, register in enumerate(row):
                place = [c_tile + n * shapes.c.sample_bytes + m * asm.isa.vector_bytes]
                v.store(place, activated(asm, self.act, register, broadcast))
                asm.note(f"{names.c}[{n}][{m}]")
            asm.vec.free(*row)
        asm.vec.free(broadcast, *b_vec)
        asm.phase()

    def _multiply(self, acc: list[list[Any]], b_vec: list[Any], broadcast: Any, a: Any, b: Any, j: int) -> None:
        """One term: acc[n][m] += a[n][j] * b[j][m]."""
        asm, names, shapes, v = self.asm, self.names, self.shapes, self.asm.v
        row = j * self.row_bytes
        operands: list[Any] = [[b + row + m * self.vector_bytes] for m in range(len(acc[0]))]
        for m, register in enumerate(b_vec):
            v.load(register, operands[m])
            asm.note(f"{names.b}[{names.j}+{j}], vector {m}")
        for n, sums in enumerate(acc):
            v.broadcast(broadcast, [a + n * shapes.a.sample_bytes + j * asm.element_bytes])
            for m, register in enumerate(sums):
                v.fma(register, broadcast, b_vec[m] if b_vec else operands[m])
        tile_bytes = len(acc[0]) * asm.isa.vector_bytes
        if self.tile.prefetches and len(acc[0]) == self.tile.vectors:
            for line in range(0, tile_bytes, LINE_BYTES):
                x86.PREFETCHT1([b + row + tile_bytes + line])
                asm.note(f"{names.b}[{names.j}] of the next tile")
