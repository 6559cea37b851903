"""Dense layer, gradient of the parameters: g[o,k] = sum_n dy[n,o] x[n,k], then the optimizer's step or a store.

Lanes run along k (dense_dw_frame.py). A block of inputs meets all outputs of the slice before the next is read.
The kernel for weights whose lanes are outputs: dense_dw_by_output.py.
"""

from __future__ import annotations

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.dense import dense_dw_by_output
from asmgen.kernels.dense.dense_copies import pack_lanes, spread_factors
from asmgen.kernels.dense.dense_dw_frame import UpdateKernel
from asmgen.plan.layout import DENSE_QUAD
from asmgen.plan.specs import DenseWeightGradient
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts
from asmgen.tile.dense.dense_dw import UpdateByOutputTile, UpdateTile, choose_update_tile


def emit(spec: DenseWeightGradient, isa: Isa, tile: UpdateTile | UpdateByOutputTile | None = None) -> Listing:
    """The listing of one kernel (arguments: x, dy, then w with bias and states, hyper, or dw; slice: see the spec)."""
    chosen = tile or choose_update_tile(spec, isa)
    if isinstance(chosen, UpdateByOutputTile):
        return dense_dw_by_output.emit(spec, isa, chosen)
    return _ByInput(spec, isa, chosen).emit()


class _ByInput(UpdateKernel):
    """Lanes are inputs, slices quads of outputs."""

    tile: UpdateTile

    def emit(self) -> Listing:
        asm, spec, tile = self.asm, self.spec, self.tile
        with asm:
            names = enumerate(("x", "dy", *self.end.arguments))
            self.x, self.dy, self.w, *hyper = (asm.argument(i, name) for i, name in names)
            begin, self.n_quads = asm.argument(4, "begin"), asm.argument(5, "end / quads in the slice")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, self.n_quads)
            x86.JAE(done)
            self.end.set_up(*hyper)
            if tile.packs_lanes:
                self.packed = asm.scratch(spec.x.n * tile.block_tiles * tile.vectors * asm.isa.vector_bytes)
            if tile.spreads_factors:
                self.factor_bytes = DENSE_QUAD * asm.isa.vector_bytes
                self.spread = asm.scratch(spec.x.n * self.factor_bytes)
            asm.comment(f"move dy, {self.target}{' and the bias' if spec.bias else ''} to the first quad of the slice")
            x86.SUB(self.n_quads, begin)
            offset = asm.gp.alloc("offset")
            x86.IMUL(offset, begin, self.quad_w_bytes)
            x86.IMUL(begin, begin, self.quad_bytes)
            x86.ADD(self.dy, begin)
            if spec.bias:
                bias = asm.gp.alloc("bias")
                x86.LEA(bias, [self.w + begin * 1 + spec.weights.bias_offset_bytes])
            x86.ADD(self.w, offset)
            asm.gp.free(offset, begin)
            if spec.bias:
                self.bias(self.dy, bias, self.n_quads, "quads in the slice", self.quad_bytes)
                asm.gp.free(bias)
            self._blocks()
            asm.place(done)
        return asm.finish(self.facts("dense_dw.py", f"quads of outputs ({DENSE_QUAD} each)"))

    def _blocks(self) -> None:
        """The weights of the slice, a block of lanes after the other."""
        asm, tile = self.asm, self.tile
        n_tiles, tail = divmod(self.lanes.rows.n_vectors, tile.vectors)
        n_blocks, tiles_left = divmod(n_tiles, tile.block_tiles)
        block_vectors = tile.block_tiles * tile.vectors
        with asm.loop("block", n_blocks):
            self._quads([(tile.block_tiles, tile.vectors)])
            asm.move(
                self.x, block_vectors * asm.isa.vector_bytes, f"{self.lanes.name}: {advance(block_vectors, 'vector')}"
            )
            asm.move(
                self.w,
                block_vectors * self.spec.weights.vector_bytes,
                f"{self.target}: {advance(block_vectors, 'vector')} of {self.lanes.plural}",
            )
        rest = parts(tiles_left * tile.vectors + tail, tile.vectors)
        if rest:
            asm.comment(f"the last {self.lanes.plural}")
            self._quads(rest)

    def _quads(self, tiles: list[tuple[int, int]]) -> None:
        """Every quad of factors against one block of lanes, given as (tiles, their vectors)."""
        asm, factors, lanes = self.asm, self.factors, self.lanes
        if self.packed is not None:
            pack_lanes(asm, lanes, self.x, self.packed, tiles)
        quad, lanes_tile, factors_at, w_quad, w_tile = (
            asm.gp.alloc(name)
            for name in (
                "quads left",
                f"{lanes.name} tile",
                f"{factors.name} quad",
                f"{self.target} quad",
                f"{self.target} tile",
            )
        )
        x86.MOV(quad, self.n_quads)
        x86.MOV(factors_at, self.dy)
        x86.MOV(w_quad, self.w)
        with asm.loop("g", "quads in the slice", quad):
            if self.spread is not None:
                spread_factors(asm, factors, factors_at, self.spread)
            if self.packed is None:
                x86.MOV(lanes_tile, self.x)
            else:
                x86.LEA(lanes_tile, [self.packed])
            x86.MOV(w_tile, w_quad)
            for count, vectors in tiles:
                with asm.loop(lanes.index, count):
                    self.emit_tile(1, vectors, lanes_tile, factors_at, w_tile, prefetches=self.tile.prefetches)
                    tile_bytes = vectors * asm.isa.vector_bytes
                    asm.move(
                        lanes_tile,
                        self.spec.x.n * tile_bytes if self.tile.packs_lanes else tile_bytes,
                        f"{lanes.name}: next tile",
                    )
                    asm.move(
                        w_tile, vectors * self.spec.weights.vector_bytes, f"{self.target}: {advance(vectors, 'vector')}"
                    )
            asm.move(factors_at, self.quad_bytes, f"{factors.name}: next quad")
            asm.move(w_quad, self.quad_w_bytes, f"{self.target}: next quad of {factors.plural}")
        asm.gp.free(quad, lanes_tile, factors_at, w_quad, w_tile)
