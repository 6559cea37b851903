"""Dense layer, gradient of the parameters: dw[o,k] = sum_n dy[n,o] x[n,k], db[o] = sum_n dy[n,o].

Lanes run along k. A tile of 4 outputs x vectors of inputs stays in registers while the sum runs over the samples in
order. A block of inputs that fits L1 meets all outputs of the slice before the next block is read.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.layout import DENSE_ROW_GROUP
from asmgen.plan.specs import DenseBackwardWeights, dtype_tag
from asmgen.tile.dense import BackwardWeightsTile, choose_weights_tile
from asmgen.tile.split import parts

_DB_CHAINS = 4  # accumulators of a bias gradient, so that additions do not wait for each other


def emit(spec: DenseBackwardWeights, isa: Isa, tile: BackwardWeightsTile | None = None) -> Listing:
    """The listing of one kernel (arguments: x, dy, dw with db behind; slice: groups of 4 outputs)."""
    return _BackwardWeights(spec, isa, tile or choose_weights_tile(spec, isa)).emit()


class _BackwardWeights:
    """One emission: the assembler, the tile and the registers that live throughout."""

    def __init__(self, spec: DenseBackwardWeights, isa: Isa, tile: BackwardWeightsTile) -> None:
        self.spec = spec
        self.tile = tile
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.v = self.asm.v
        self.group_bytes = DENSE_ROW_GROUP * self.asm.element_bytes  # of dy and db
        self.group_dw_bytes = DENSE_ROW_GROUP * spec.weights.row_bytes

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        with asm:
            self.x, self.dy, self.dw = (asm.argument(i, name) for i, name in enumerate(("x", "dy", "dw")))
            begin, self.n_groups = asm.argument(4, "begin"), asm.argument(5, "end / groups in the slice")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, self.n_groups)
            x86.JAE(done)
            asm.comment("move dy, dw and db to the first group of the slice")
            x86.SUB(self.n_groups, begin)
            offset = asm.gp.alloc("offset")
            x86.IMUL(offset, begin, self.group_dw_bytes)
            x86.IMUL(begin, begin, self.group_bytes)
            x86.ADD(self.dy, begin)
            if spec.bias:
                db = asm.gp.alloc("db")
                x86.LEA(db, [self.dw + begin * 1 + spec.weights.bias_offset_bytes])
            x86.ADD(self.dw, offset)
            asm.gp.free(offset, begin)
            if spec.bias:
                self._bias(db)
                asm.gp.free(db)
            self._blocks()
            asm.place(done)
        return asm.finish(self._facts())

    def _bias(self, db: Any) -> None:
        """db of the slice, 4 outputs at a time."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        asm.comment(f"db[o..o+3] = sum_n dy[n][o..o+3], in {_DB_CHAINS} chains of samples")
        width = min(self.group_bytes, asm.isa.vector_bytes)
        chains = [asm.vec.alloc(f"db chain {c}") for c in range(min(_DB_CHAINS, spec.x.n))]
        views = [register.as_xmm if width == 16 else register.as_ymm for register in chains]
        group, dy, dy_at = asm.gp.alloc("groups left"), asm.gp.alloc("dy group"), asm.gp.alloc("dy at n")
        x86.MOV(group, self.n_groups)
        x86.MOV(dy, self.dy)
        with asm.loop("db", "groups in the slice", group):
            for part in range(0, self.group_bytes, width):
                x86.MOV(dy_at, dy)
                for c, view in enumerate(views):
                    v.load(view, [dy_at + c * spec.dy.sample_bytes + part])
                x86.ADD(dy_at, len(views) * spec.dy.sample_bytes)
                for trips, extent in parts(spec.x.n - len(views), len(views)):
                    with asm.loop("n", trips):
                        for c in range(extent):
                            v.add(views[c], views[c], [dy_at + c * spec.dy.sample_bytes + part])
                        x86.ADD(dy_at, extent * spec.dy.sample_bytes)
                for view in views[1:]:
                    v.add(views[0], views[0], view)
                v.store([db + part], views[0])
            x86.ADD(dy, self.group_bytes)
            x86.ADD(db, self.group_bytes)
        asm.vec.free(*chains)
        asm.gp.free(group, dy, dy_at)

    def _blocks(self) -> None:
        """dw of the slice, a block of inputs after the other."""
        asm, tile = self.asm, self.tile
        n_tiles, tail = divmod(self.spec.x.n_vectors, tile.vectors)
        n_blocks, tiles_left = divmod(n_tiles, tile.block_tiles)
        block_bytes = tile.block_tiles * tile.vectors * asm.isa.vector_bytes
        with asm.loop("block", n_blocks):
            self._groups([(tile.block_tiles, tile.vectors)])
            x86.ADD(self.x, block_bytes)
            x86.ADD(self.dw, block_bytes)
        rest = parts(tiles_left * tile.vectors + tail, tile.vectors)
        if rest:
            asm.comment("the last inputs")
            self._groups(rest)

    def _groups(self, tiles: list[tuple[int, int]]) -> None:
        """Every group of 4 outputs against one block of inputs, given as (tiles, their vectors)."""
        asm = self.asm
        group, x_tile, dy, dw_group, dw_tile = (
            asm.gp.alloc(name) for name in ("groups left", "x tile", "dy group", "dw group", "dw tile")
        )
        x86.MOV(group, self.n_groups)
        x86.MOV(dy, self.dy)
        x86.MOV(dw_group, self.dw)
        with asm.loop("g", "groups in the slice", group):
            x86.MOV(x_tile, self.x)
            x86.MOV(dw_tile, dw_group)
            for count, vectors in tiles:
                with asm.loop("k", count):
                    self._tile(vectors, x_tile, dy, dw_tile)
                    x86.ADD(x_tile, vectors * asm.isa.vector_bytes)
                    x86.ADD(dw_tile, vectors * asm.isa.vector_bytes)
            x86.ADD(dy, self.group_bytes)
            x86.ADD(dw_group, self.group_dw_bytes)
        asm.gp.free(group, x_tile, dy, dw_group, dw_tile)

    def _tile(self, vectors: int, x_tile: Any, dy_group: Any, dw_tile: Any) -> None:
        """dw[4 outputs][vectors] = the whole sum over the samples."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        acc = [[asm.vec.alloc(f"acc[{o}][{k}]") for k in range(vectors)] for o in range(DENSE_ROW_GROUP)]
        x_vec = [asm.vec.alloc(f"x[{k}]") for k in range(vectors)] if self.tile.holds_x else []
        broadcast = asm.vec.alloc("dy[n][o]")
        asm.comment(f"acc[o][k] = 0 for {DENSE_ROW_GROUP} outputs x {vectors} vectors of inputs")
        for register in (register for row in acc for register in row):
            v.zero(register)
        x, dy = asm.gp.alloc("x at n"), asm.gp.alloc("dy at n")
        x86.MOV(x, x_tile)
        x86.MOV(dy, dy_group)
        asm.comment("acc[o][k] += dy[n][o] * x[n][k..]")
        for trips, unroll in parts(spec.x.n, min(self.tile.unroll, spec.x.n)):
            with asm.loop("n", trips):
                for u in range(unroll):
                    self._multiply(acc, x_vec, broadcast, x, dy, u)
                x86.ADD(x, unroll * spec.x.sample_bytes)
                x86.ADD(dy, unroll * spec.dy.sample_bytes)
        asm.comment("store")
        for o, row in enumerate(acc):
            for k, register in enumerate(row):
                v.store([dw_tile + o * spec.weights.row_bytes + k * asm.isa.vector_bytes], register)
            asm.vec.free(*row)
        asm.vec.free(broadcast, *x_vec)
        asm.gp.free(x, dy)

    def _multiply(self, acc: list[list[Any]], x_vec: list[Any], broadcast: Any, x: Any, dy: Any, n: int) -> None:
        """One sample: acc[o][k] += dy[n][o] * x[n][k]."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        operands: list[Any] = [[x + n * spec.x.sample_bytes + k * asm.isa.vector_bytes] for k in range(len(acc[0]))]
        for k, register in enumerate(x_vec):
            v.load(register, operands[k])
            asm.note(f"x[n+{n}], vector {k}")
        for o, row in enumerate(acc):
            v.broadcast(broadcast, [dy + n * spec.dy.sample_bytes + o * asm.element_bytes])
            for k, register in enumerate(row):
                v.fma(register, broadcast, x_vec[k] if x_vec else operands[k])

    def _facts(self) -> Facts:
        spec = self.spec
        x, dy, w = spec.x, spec.dy, spec.weights
        ctype = dtype_tag(x.dtype)
        limits = f"    n < {x.n}, o < {w.out}, k < {x.features}"
        return Facts(
            title=f"dense_dw  x {x.n} x {x.features}, dy {dy.n} x {dy.features} -> {w.out} x {x.features}",
            source="asmgen/kernels/dense_dw.py",
            formula=(
                f"dw[o,k] = sum_n dy[n,o] * x[n,k]{limits}",
                *(("db[o] = sum_n dy[n,o]",) if spec.bias else ()),
            ),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "64-byte aligned"),
                Argument("rsi", "dy", ctype, str(dy), "in", "64-byte aligned"),
                Argument(
                    "rdx",
                    "dw",
                    ctype,
                    str(w),
                    "out",
                    "64-byte aligned; overwritten" + (", db behind dw" if spec.bias else ""),
                ),
            ),
            slice_unit=f"groups of {DENSE_ROW_GROUP} outputs, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=x.size_bytes + dy.size_bytes,
            bytes_written=w.n_rows * w.row_bytes + (spec.bias and w.n_rows * self.asm.element_bytes),
            tile=str(self.tile),
        )
