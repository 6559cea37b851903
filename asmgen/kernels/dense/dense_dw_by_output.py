"""Dense layer, gradient of the parameters, lanes = outputs: g[k,o] = sum_n x[n,k] dy[n,o], then the step or a store.

A tile of dy, a few vectors wide, meets all inputs (dense_dw_frame.py). Slices are vectors of outputs: a thread
that takes the step updates the weights that it reads in the next forward pass.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.dense.dense_copies import pack_lanes
from asmgen.kernels.dense.dense_dw_frame import UpdateKernel
from asmgen.plan.specs import DenseWeightGradient
from asmgen.tile.common.count_text import advance
from asmgen.tile.common.remainder import parts
from asmgen.tile.dense.dense_dw import UpdateByOutputTile


def emit(spec: DenseWeightGradient, isa: Isa, tile: UpdateByOutputTile) -> Listing:
    """The listing of one kernel (arguments: x, dy, then w with bias and states, hyper, or dw; slice: vectors)."""
    return _ByOutput(spec, isa, tile).emit()


class _ByOutput(UpdateKernel):
    """Lanes are outputs, slices vectors of them."""

    tile: UpdateByOutputTile

    def emit(self) -> Listing:
        asm, spec, tile, weights = self.asm, self.spec, self.tile, self.spec.weights
        with asm:
            target, *others = self.end.arguments
            names = enumerate(("x", "dy", f"{target} argument", *others))
            self.x, self.dy, w, *hyper = (asm.argument(i, name) for i, name in names)
            begin, count = asm.argument(4, "begin"), asm.argument(5, "end / vectors in the slice")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, count)
            x86.JAE(done)
            self.end.set_up(*hyper)
            if tile.packs_lanes:
                self.packed = asm.scratch(spec.x.n * tile.vectors * asm.isa.vector_bytes)
            asm.comment(f"move dy, {target}{' and the bias' if spec.bias else ''} to the first vector of the slice")
            x86.SUB(count, begin)
            self.w = asm.gp.take(x86.r10, target)  # the division below needs rax and rdx
            x86.IMUL(self.w, begin, weights.vector_bytes)
            x86.ADD(self.w, w)
            x86.IMUL(begin, begin, asm.isa.vector_bytes)
            x86.ADD(self.dy, begin)
            if spec.bias:
                bias = asm.gp.take(x86.r11, "bias")
                x86.LEA(bias, [w + begin * 1 + weights.bias_offset_bytes])
            asm.gp.free(begin, w)
            if spec.bias:
                self.bias(self.dy, bias, count, "vectors in the slice", asm.isa.vector_bytes)
                asm.gp.free(bias)
            if tile.vectors == 1:
                self._columns("o", "vectors in the slice", count, 1)
            else:
                self._tiles_and_singles(count)
            asm.place(done)
        return asm.finish(self.facts("dense_dw_by_output.py", "vectors of outputs"))

    def _tiles_and_singles(self, count: Any) -> None:
        """Divide the vectors of the slice into tiles and what is left of them."""
        asm, vectors = self.asm, self.tile.vectors
        quotient, remainder = asm.gp.take(x86.rax, "tiles in the slice"), asm.gp.take(x86.rdx, "vectors left over")
        tiles, singles = asm.gp.alloc("o tiles left"), asm.gp.alloc("o singles left")
        x86.MOV(quotient, count)
        x86.XOR(x86.edx, x86.edx)
        x86.MOV(tiles, vectors)
        x86.DIV(tiles)
        x86.MOV(tiles, quotient)
        x86.MOV(singles, remainder)
        asm.gp.free(count, quotient, remainder)
        self._columns("o", f"vectors in the slice / {vectors}", tiles, vectors)
        self._columns("o1", f"vectors in the slice % {vectors}", singles, 1)

    def _columns(self, name: str, trips: str, count: Any, vectors: int) -> None:
        """`count` (a register, freed) times `vectors` of outputs against all inputs; dy and w move on."""
        asm, weights = self.asm, self.spec.weights
        with asm.loop(name, trips, count):
            if self.packed is not None:
                pack_lanes(asm, self.lanes, self.dy, self.packed, [(1, vectors)])
            dy, x, w = (asm.gp.alloc(each) for each in ("dy tile", "x quad", f"{self.target} quad"))
            if self.packed is None:
                x86.MOV(dy, self.dy)
            else:
                x86.LEA(dy, [self.packed])
            x86.MOV(x, self.x)
            x86.MOV(w, self.w)
            for repeats, quads in parts(weights.n_quads, self.tile.quads(vectors)):
                with asm.loop("k", repeats):
                    self.emit_tile(quads, vectors, dy, x, w)
                    asm.move(x, quads * self.quad_bytes, f"x: {advance(quads, 'quad')} of inputs")
                    asm.move(w, quads * self.quad_w_bytes, f"{self.target}: {advance(quads, 'quad')} of inputs")
            asm.gp.free(dy, x, w)
            asm.move(self.dy, vectors * asm.isa.vector_bytes, f"dy: {advance(vectors, 'vector')} of outputs")
            asm.move(self.w, vectors * weights.vector_bytes, f"{self.target}: {advance(vectors, 'vector')} of outputs")
        asm.gp.free(count)
