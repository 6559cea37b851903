"""Dense layer, forward: y[n,o] = act(b[o] + sum_k x[n,k] w[o,k]).

Lanes run along k, so x and w are read as they lie; a tile of samples x 4 outputs accumulates lane-partial dot
products and one horizontal tree turns four accumulators into four neighbouring outputs. Rows too long for L1 are
summed in blocks, with the partial sums in y. The order of every sum is fixed by the shape alone, never by the slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.horizontal import sum_four
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import activated, call
from asmgen.plan.layout import DENSE_QUAD
from asmgen.plan.specs import DenseForward, dtype_tag
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.dense.dense_product import ForwardTile, choose_forward_tile


def emit(spec: DenseForward, isa: Isa, tile: ForwardTile | None = None) -> Listing:
    """The listing of one dense forward kernel (arguments: x, w with the bias behind, y; slice: quads of outputs)."""
    return _Forward(spec, isa, tile or choose_forward_tile(spec, isa)).emit()


class _Forward:
    """One emission: the assembler, the tile and the registers that live throughout."""

    def __init__(self, spec: DenseForward, isa: Isa, tile: ForwardTile) -> None:
        self.spec = spec
        self.tile = tile
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.v = self.asm.v
        self.quad_bytes = DENSE_QUAD * self.asm.element_bytes  # of y and of the bias
        self.quad_w_bytes = DENSE_QUAD * spec.weights.row_bytes
        self.n_vectors = spec.x.n_vectors
        self.is_split = self.tile.block_vectors < self.n_vectors
        # Where four neighbouring outputs fill several registers, and the bytes of one.
        self.part_bytes = min(self.quad_bytes, isa.vector_bytes)
        self.n_parts = self.quad_bytes // self.part_bytes

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        with asm:
            self.x, self.w, self.y = (asm.argument(i, name) for i, name in enumerate(("x", "w", "y")))
            begin, self.n_quads = asm.argument(4, "begin"), asm.argument(5, "end / quads in the slice")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, self.n_quads)
            x86.JAE(done)
            self._zero_padding()
            asm.comment("move w, bias and y to the first quad of the slice")
            x86.SUB(self.n_quads, begin)
            offset = asm.gp.alloc("offset")
            x86.IMUL(offset, begin, self.quad_w_bytes)
            x86.IMUL(begin, begin, self.quad_bytes)
            x86.ADD(self.y, begin)
            self.bias = asm.gp.alloc("bias") if spec.bias else None
            if self.bias is not None:
                x86.LEA(self.bias, [self.w + begin * 1 + spec.weights.bias_offset_bytes])
            x86.ADD(self.w, offset)
            asm.gp.free(offset, begin)
            self._blocks()
            asm.place(done)
        return asm.finish(self._facts())

    # phases --------------------------------------------------------------------------------------------------------

    def _zero_padding(self) -> None:
        """The slice that holds the last quad also clears what lies behind it in every row of y."""
        asm, y = self.asm, self.spec.y
        first = self.spec.weights.n_rows * asm.element_bytes
        if first == y.sample_bytes:
            return
        asm.comment(f"the last slice clears y[n][{self.spec.weights.n_rows}..{y.stride - 1}]")
        skip = asm.label("no_padding")
        x86.CMP(self.n_quads, self.spec.slice_units())
        x86.JNE(skip)
        zero, at = asm.vec.alloc("zero"), asm.gp.alloc("y row")
        self.v.zero(zero)
        x86.LEA(at, [self.y + first])
        with asm.loop("padding", y.n):
            for offset in range(0, y.sample_bytes - first, self.part_bytes):
                self.v.store([at + offset], self._part(zero))
            asm.move(at, y.sample_bytes, "y: next sample")
        asm.vec.free(zero)
        asm.gp.free(at)
        asm.place(skip)

    def _blocks(self) -> None:
        """All blocks of inputs: one with bias and activation in its epilogue, or several that add to y."""
        asm, block = self.asm, self.tile.block_vectors
        if not self.is_split:
            if self.tile.block_quads:
                self._quad_blocks()
            else:
                self._sample_tiles(self.n_vectors, self.n_quads)
            return
        self._store_bias()
        n_blocks, rest = divmod(self.n_vectors, block)
        with asm.loop("block", n_blocks):
            self._sample_tiles(block, self.n_quads)
            if n_blocks > 1 or rest:
                asm.move(self.x, block * asm.isa.vector_bytes, f"x: {advance(block, 'vector')} of inputs")
                asm.move(self.w, block * asm.isa.vector_bytes, f"w: {advance(block, 'vector')} of inputs")
        if rest:
            self._sample_tiles(rest, self.n_quads)
        if self.spec.act:
            self._activate_all()

    def _quad_blocks(self) -> None:
        """All quads, in blocks whose weights stay in L1 while the samples pass."""
        asm, block = self.asm, self.tile.block_quads
        blocks, count = asm.gp.alloc("blocks"), asm.gp.alloc("quads of the block")
        x86.LEA(blocks, [self.n_quads + block - 1])
        x86.SHR(blocks, block.bit_length() - 1)
        asm.gp.free(blocks)
        with asm.loop("o", f"quads in the slice / {block}, rounded up", blocks, on_stack=True):
            x86.MOV(count, block)
            x86.CMP(self.n_quads, count)
            x86.CMOVB(count, self.n_quads)
            self._sample_tiles(self.n_vectors, count)
            asm.move(self.w, block * self.quad_w_bytes, f"w: {advance(block, 'quad')} of outputs")
            asm.move(self.y, block * self.quad_bytes, f"y: {advance(block, 'quad')} of outputs")
            if self.bias is not None:
                asm.move(self.bias, block * self.quad_bytes, f"bias: {advance(block, 'quad')} of outputs")
            asm.move(self.n_quads, -block, f"{counted(block, 'quad')} done")
        asm.gp.free(count)

    def _sample_tiles(self, vectors: int, n_quads: Any) -> None:
        """All samples and some quads over one block of inputs: a tile's samples stay in L1 while the weights pass."""
        asm, spec = self.asm, self.spec
        n_tiles, tail = divmod(spec.x.n, self.tile.samples)
        x, y = asm.gp.alloc("x tile"), asm.gp.alloc("y tile")
        x86.MOV(x, self.x)
        x86.MOV(y, self.y)
        with asm.loop("n", n_tiles, on_stack=self.tile.block_quads > 0):
            self._quads(self.tile.samples, vectors, x, y, n_quads)
            asm.move(x, self.tile.samples * spec.x.sample_bytes, f"x: {advance(self.tile.samples, 'sample')}")
            asm.move(y, self.tile.samples * spec.y.sample_bytes, f"y: {advance(self.tile.samples, 'sample')}")
        if tail:
            asm.comment(f"the last {counted(tail, 'sample')}")
            self._quads(tail, vectors, x, y, n_quads)
        asm.gp.free(x, y)

    def _quads(self, samples: int, vectors: int, x_tile: Any, y_tile: Any, n_quads: Any) -> None:
        """One tile of samples against n_quads (a register) quads of outputs."""
        asm = self.asm
        adds_bias = self.bias is not None and not self.is_split
        quad, x, w, y = (asm.gp.alloc(name) for name in ("quads left", "x", "w at", "y at"))
        bias = asm.gp.alloc("bias at") if adds_bias else None
        x86.MOV(quad, n_quads)
        x86.MOV(w, self.w)
        x86.MOV(y, y_tile)
        if adds_bias:
            x86.MOV(bias, self.bias)
        with asm.loop("g", "quads of the block" if self.tile.block_quads else "quads in the slice", quad):
            x86.MOV(x, x_tile)
            self._tile(samples, vectors, x, w, y, bias)
            asm.move(w, self.quad_w_bytes - vectors * asm.isa.vector_bytes, "w: next quad of outputs, first input")
            asm.move(y, self.quad_bytes, "y: next quad of outputs")
            if adds_bias:
                asm.move(bias, self.quad_bytes, "bias: next quad of outputs")
        asm.gp.free(quad, x, w, y)
        if adds_bias:
            asm.gp.free(bias)

    def _tile(self, samples: int, vectors: int, x: Any, w: Any, y: Any, bias: Any) -> None:
        """samples x 4 outputs over one block; leaves x and w behind it."""
        asm = self.asm
        phases = self.tile.phases(samples)
        acc = [
            [
                [asm.vec.alloc(f"acc[{n}][{o}]" + (f" phase {p}" if p else "")) for o in range(DENSE_QUAD)]
                for n in range(samples)
            ]
            for p in range(phases)
        ]
        asm.comment(f"acc[n][o] = 0 for {counted(samples, 'sample')} x {DENSE_QUAD} outputs")
        for register in (r for phase in acc for row in phase for r in row):
            self.v.zero(register)
        x_vec = [asm.vec.alloc(f"x[{n}]") for n in range(samples)] if self.tile.holds_x else []
        w_vec = [asm.vec.alloc("w") for _ in range(self.tile.n_w_registers)]
        unroll = min(self.tile.unroll, vectors)
        step = asm.isa.vector_bytes
        asm.comment("acc[n][o] += x[n][k..] * w[o][k..], lane by lane")
        with asm.loop("k", vectors // unroll):
            for u in range(unroll):
                self._multiply(acc[u % phases], x_vec, w_vec, x, w, u * step)
            asm.move(x, unroll * step, f"x: {advance(unroll, 'vector')} of inputs")
            asm.move(w, unroll * step, f"w: {advance(unroll, 'vector')} of inputs")
        rest = vectors % unroll
        for u in range(rest):
            self._multiply(acc[u % phases], x_vec, w_vec, x, w, u * step)
        if rest:
            asm.move(x, rest * step, f"x: {advance(rest, 'vector')} of inputs")
            asm.move(w, rest * step, f"w: {advance(rest, 'vector')} of inputs")
        if phases > 1:
            asm.comment("join the phases")
        for extra in acc[1:]:
            for row, other in zip(acc[0], extra, strict=True):
                for a, b in zip(row, other, strict=True):
                    self.v.add(a, a, b)
                    asm.vec.free(b)
        asm.vec.free(*x_vec, *w_vec)
        self._epilogue(acc[0], y, bias)
        asm.vec.free(*(register for row in acc[0] for register in row))

    def _multiply(self, acc: list[list[Any]], x_vec: list[Any], w_vec: list[Any], x: Any, w: Any, at: int) -> None:
        """One vector of inputs: acc[n][o] += x[n] * w[o]."""
        row_bytes, sample_bytes = self.spec.weights.row_bytes, self.spec.x.sample_bytes
        x_operands: list[Any] = [[x + n * sample_bytes + at] for n in range(len(acc))]
        for n, register in enumerate(x_vec):
            self.v.load(register, x_operands[n])
            self.asm.note(f"x[{n}][k..]")
        for o in range(DENSE_QUAD):
            weights = w_vec[o % len(w_vec)]
            self.v.load(weights, [w + o * row_bytes + at])
            self.asm.note(f"w[{o}][k..]")
            for n, row in enumerate(acc):
                self.v.fma(row[o], weights, x_vec[n] if x_vec else x_operands[n])

    def _epilogue(self, acc: list[list[Any]], y: Any, bias: Any) -> None:
        """Sum the lanes; one block: add the bias, activate; several: add to y. Store 4 outputs a sample."""
        asm = self.asm
        asm.comment("sum the lanes of 4 outputs a sample" + ("" if self.is_split else ", bias, activation") + ", store")
        spare = asm.vec.alloc("spare")
        for n, row in enumerate(acc):
            for i, part in enumerate(sum_four(asm, row, spare, notes=n == 0)):
                place = [y + n * self.spec.y.sample_bytes + i * self.part_bytes]
                if self.is_split:
                    self.v.add(part, part, place)
                else:
                    if self.bias is not None:
                        self.v.add(part, part, [bias + i * self.part_bytes])
                    part = activated(asm, self.spec.act, part, self._part(spare))
                self.v.store(place, part)
        asm.vec.free(spare)

    def _y_pass(self, name: str, before: Callable[[Any], Any], body: Callable[[Any], None]) -> None:
        """Visit the 4 outputs of every quad and sample of the slice: `before` once a quad, `body` at [y]."""
        asm = self.asm
        quad, bias, y_quad, y = (asm.gp.alloc(n) for n in ("quads left", "bias at", "y quad", "y at"))
        x86.MOV(quad, self.n_quads)
        x86.MOV(y_quad, self.y)
        if self.bias is not None:
            x86.MOV(bias, self.bias)
        with asm.loop(f"{name}_g", "quads in the slice", quad):
            before(bias)
            x86.MOV(y, y_quad)
            with asm.loop("n", self.spec.y.n):
                body(y)
                asm.move(y, self.spec.y.sample_bytes, "y: next sample")
            asm.move(y_quad, self.quad_bytes, "y: next quad of outputs")
            if self.bias is not None:
                asm.move(bias, self.quad_bytes, "bias: next quad of outputs")
        asm.gp.free(quad, bias, y_quad, y)

    def _store_bias(self) -> None:
        """y = bias."""
        asm = self.asm
        asm.comment("y = bias, to which every block of inputs adds")
        parts = [asm.vec.alloc(f"bias {i}") for i in range(self.n_parts)]

        def load(bias: Any) -> None:
            for i, part in enumerate(parts):
                if self.bias is None:
                    self.v.zero(self._part(part))
                else:
                    self.v.load(self._part(part), [bias + i * self.part_bytes])

        def store(y: Any) -> None:
            for i, part in enumerate(parts):
                self.v.store([y + i * self.part_bytes], self._part(part))

        self._y_pass("bias", load, store)
        asm.vec.free(*parts)

    def _activate_all(self) -> None:
        """y = act(y)."""
        asm = self.asm
        asm.comment("y = act(y)")
        z, spare = asm.vec.alloc("z"), asm.vec.alloc("spare")

        def body(y: Any) -> None:
            for i in range(self.n_parts):
                self.v.load(self._part(z), [y + i * self.part_bytes])
                self.v.store([y + i * self.part_bytes], activated(asm, self.spec.act, self._part(z), self._part(spare)))

        self._y_pass("act", lambda bias: None, body)
        asm.vec.free(z, spare)

    def _part(self, register: Any) -> Any:
        """The view of a register that holds part_bytes."""
        return register.as_xmm if self.part_bytes == 16 else register.as_ymm

    def _facts(self) -> Facts:
        spec, tile = self.spec, self.tile
        x, w, y = spec.x, spec.weights, spec.y
        ctype = dtype_tag(x.dtype)
        total = f"{'b[o] + ' if spec.bias else ''}sum_k x[n,k] * w[o,k]"
        notes = (f"y lanes {w.n_rows}..{y.stride - 1} are cleared by the last slice",) if y.stride > w.n_rows else ()
        if self.is_split:
            notes = (
                *notes,
                f"rows of x are summed in blocks of {tile.block_vectors} vectors; y holds the partial sums",
            )
        return Facts(
            title=f"{spec.text}  {x.n} x {x.features} -> {y.n} x {y.features}",
            source="asmgen/kernels/dense/dense_fwd.py",
            formula=(f"y[n,o] = {call(spec.act, total)}    n < {x.n}, o < {w.out}, k < {x.features}",),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "64-byte aligned"),
                Argument("rsi", "w", ctype, str(w), "in", "64-byte aligned; lanes are inputs"),
                Argument("rdx", "y", ctype, str(y), "out", "64-byte aligned; overwritten"),
            ),
            slice_unit=f"quads of outputs ({DENSE_QUAD} each), 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=x.size_bytes + (w.size_bytes if spec.bias else w.bias_offset_bytes),
            bytes_written=y.size_bytes,
            tile=str(tile),
            notes=notes,
        )
