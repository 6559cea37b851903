"""Dense layer, gradient of the inputs: dx[n,k] = sum_o dy[n,o] w[o,k].

Lanes run along k. A tile of samples x vectors of inputs stays in registers while the sum runs over the outputs in
order; every element is one chain, so tiles and slices do not change its bits.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.specs import DenseBackwardInput, dtype_tag
from asmgen.tile.dense import BackwardInputTile, choose_input_tile
from asmgen.tile.split import parts
from asmgen.tile.words import counted


def emit(spec: DenseBackwardInput, isa: Isa, tile: BackwardInputTile | None = None) -> Listing:
    """The listing of one kernel (arguments: dy, w, dx; slice: vectors of inputs)."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    tile = tile or choose_input_tile(spec, isa)
    with asm:
        dy, w, dx = (asm.argument(i, name) for i, name in enumerate(("dy", "w", "dx argument")))
        begin, end = asm.argument(4, "begin"), asm.argument(5, "end / vectors in the slice")
        asm.release_arguments()
        done = asm.label("done")
        x86.CMP(begin, end)
        x86.JAE(done)
        asm.comment("move w and dx to the first vector of the slice")
        dx_at = asm.gp.take(x86.r10, "dx")  # the division below needs rdx
        x86.SUB(end, begin)
        x86.IMUL(begin, begin, isa.vector_bytes)
        x86.LEA(dx_at, [dx + begin * 1])
        x86.ADD(w, begin)
        asm.gp.free(dx, begin)
        body = _Body(asm, spec, tile, dy, w, dx_at)
        if tile.vectors == 1:
            body.columns("k", "vectors in the slice", end, 1)
        else:
            _tiles_and_singles(asm, body, end, tile.vectors)
        asm.place(done)
    return asm.finish(_facts(spec, tile))


def _tiles_and_singles(asm: Assembler, body: _Body, count: Any, vectors: int) -> None:
    """Divide the vectors of the slice into tiles and what is left of them, which single-vector tiles do."""
    quotient, remainder = asm.gp.take(x86.rax, "tiles in the slice"), asm.gp.take(x86.rdx, "vectors left over")
    tiles, singles = asm.gp.alloc("k tiles left"), asm.gp.alloc("k singles left")
    x86.MOV(quotient, count)
    x86.XOR(x86.edx, x86.edx)
    x86.MOV(tiles, vectors)
    x86.DIV(tiles)
    x86.MOV(tiles, quotient)
    x86.MOV(singles, remainder)
    asm.gp.free(count, quotient, remainder)
    body.columns("k", f"vectors in the slice / {vectors}", tiles, vectors)
    body.columns("k1", f"vectors in the slice % {vectors}", singles, 1)


class _Body:
    """The emission of tiles of any height and width, at running pointers into w and dx."""

    def __init__(
        self, asm: Assembler, spec: DenseBackwardInput, tile: BackwardInputTile, dy: Any, w: Any, dx: Any
    ) -> None:
        self.asm, self.spec, self.tile = asm, spec, tile
        self.dy, self.w, self.dx = dy, w, dx

    def columns(self, name: str, trips: str, count: Any, vectors: int) -> None:
        """`count` times `vectors` columns of dx, all samples; w and dx move on."""
        asm, spec = self.asm, self.spec
        dy_tile, dx_tile = asm.gp.alloc("dy tile"), asm.gp.alloc("dx tile")
        with asm.loop(name, trips, count):
            x86.MOV(dy_tile, self.dy)
            x86.MOV(dx_tile, self.dx)
            for n_tiles, samples in parts(spec.dx.n, self.tile.samples):
                with asm.loop("n", n_tiles):
                    self._tile(samples, vectors, dy_tile, dx_tile)
                    x86.ADD(dy_tile, samples * spec.dy.sample_bytes)
                    x86.ADD(dx_tile, samples * spec.dx.sample_bytes)
            x86.ADD(self.w, vectors * asm.isa.vector_bytes)
            x86.ADD(self.dx, vectors * asm.isa.vector_bytes)
        asm.gp.free(dy_tile, dx_tile)

    def _tile(self, samples: int, vectors: int, dy_tile: Any, dx_tile: Any) -> None:
        """dx[samples][vectors] = the whole sum over the outputs."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        acc = [[asm.vec.alloc(f"acc[{n}][{k}]") for k in range(vectors)] for n in range(samples)]
        w_vec = [asm.vec.alloc(f"w[{k}]") for k in range(vectors)] if self.tile.holds_w else []
        broadcast = asm.vec.alloc("dy[n][o]")
        asm.comment(f"acc[n][k] = 0 for {counted(samples, 'sample')} x {counted(vectors, 'vector')} of inputs")
        for register in (register for row in acc for register in row):
            v.zero(register)
        dy, w = asm.gp.alloc("dy at o"), asm.gp.alloc("w at o")
        x86.MOV(dy, dy_tile)
        x86.MOV(w, self.w)
        asm.comment("acc[n][k] += dy[n][o] * w[o][k..]")
        for trips, unroll in parts(spec.weights.out, min(self.tile.unroll, spec.weights.out)):
            with asm.loop("o", trips):
                for u in range(unroll):
                    self._multiply(acc, w_vec, broadcast, dy, w, u)
                x86.ADD(dy, unroll * asm.element_bytes)
                x86.ADD(w, unroll * spec.weights.row_bytes)
        asm.comment("store")
        for n, row in enumerate(acc):
            for k, register in enumerate(row):
                v.store([dx_tile + n * spec.dx.sample_bytes + k * asm.isa.vector_bytes], register)
            asm.vec.free(*row)
        asm.vec.free(broadcast, *w_vec)
        asm.gp.free(dy, w)

    def _multiply(self, acc: list[list[Any]], w_vec: list[Any], broadcast: Any, dy: Any, w: Any, o: int) -> None:
        """One output: acc[n][k] += dy[n][o] * w[o][k]."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        operands: list[Any] = [[w + o * spec.weights.row_bytes + k * asm.isa.vector_bytes] for k in range(len(acc[0]))]
        for k, register in enumerate(w_vec):
            v.load(register, operands[k])
            asm.note(f"w[o+{o}], vector {k}")
        for n, row in enumerate(acc):
            v.broadcast(broadcast, [dy + n * spec.dy.sample_bytes + o * asm.element_bytes])
            for k, register in enumerate(row):
                v.fma(register, broadcast, w_vec[k] if w_vec else operands[k])
        tile_bytes = len(acc[0]) * asm.isa.vector_bytes
        if self.tile.prefetches and len(acc[0]) == self.tile.vectors:
            for line in range(0, tile_bytes, LINE_BYTES):
                x86.PREFETCHT1([w + o * spec.weights.row_bytes + tile_bytes + line])
                asm.note("w[o] of the next tile")


def _facts(spec: DenseBackwardInput, tile: BackwardInputTile) -> Facts:
    dy, w, dx = spec.dy, spec.weights, spec.dx
    ctype = dtype_tag(dx.dtype)
    return Facts(
        title=f"dense_dx  {dy.n} x {dy.features} -> {dx.n} x {dx.features}",
        source="asmgen/kernels/dense_dx.py",
        formula=(f"dx[n,k] = sum_o dy[n,o] * w[o,k]    n < {dx.n}, k < {dx.features}, o < {w.out}",),
        arguments=(
            Argument("rdi", "dy", ctype, str(dy), "in", "64-byte aligned"),
            Argument("rsi", "w", ctype, str(w), "in", "64-byte aligned; lanes are inputs"),
            Argument("rdx", "dx", ctype, str(dx), "out", "64-byte aligned; overwritten"),
        ),
        slice_unit=f"vectors of inputs, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=dy.size_bytes + w.out * w.row_bytes,
        bytes_written=dx.size_bytes,
        tile=str(tile),
    )
