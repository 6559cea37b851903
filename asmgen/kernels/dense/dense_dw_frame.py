"""What the kernels of the dense weight gradient share: a tile's sums, what becomes of them, the bias.

A tile of g[4 factors][vectors of lanes] stays in registers while the sum runs over the samples in order; then the
optimizer's step consumes it there, or it is stored (dense_gradient_end.py). Lanes are inputs or outputs, as in the
weights (dense_roles.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts
from asmgen.kernels.dense.dense_gradient_end import end_of
from asmgen.kernels.dense.dense_roles import roles
from asmgen.plan.layout import DENSE_QUAD, LINE_BYTES
from asmgen.plan.specs import DenseWeightGradient, dtype_tag
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.dense.dense_dw import UpdateByOutputTile, UpdateTile

_BIAS_CHAINS = 4  # accumulators of a bias gradient, so that additions do not wait for each other


class UpdateKernel:
    """One emission: the assembler, the tile and the registers that live throughout."""

    def __init__(self, spec: DenseWeightGradient, isa: Isa, tile: UpdateTile | UpdateByOutputTile) -> None:
        self.spec = spec
        self.tile = tile
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.v = self.asm.v
        self.end = end_of(self.asm, spec)
        self.target = self.end.arguments[0]  # w or dw
        self.roles = roles(spec)
        self.factors, self.lanes = self.roles.factors, self.roles.lanes
        self.quad_bytes = DENSE_QUAD * self.asm.element_bytes  # of the factors
        self.quad_w_bytes = DENSE_QUAD * spec.weights.row_bytes
        self.factor_bytes = self.factors.rows.sample_bytes  # from a sample's factors to the next's
        self.packed: Any = None  # the copy of a block of lanes, and of a quad's factors, on the frame
        self.spread: Any = None

    def bias(self, dy: Any, bias: Any, count: Any, trips: str, unit_bytes: int) -> None:
        """Gradients of biases and their end: `count` (a register, kept) times unit_bytes; `bias` moves on."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        asm.comment(f"g[o..] = sum_n dy[n][o..], in {_BIAS_CHAINS} chains of samples")
        width = min(unit_bytes, asm.isa.vector_bytes)
        chains = [asm.vec.alloc(f"g chain {c}") for c in range(min(_BIAS_CHAINS, spec.x.n))]
        views = [{16: register.as_xmm, 32: register.as_ymm}.get(width, register) for register in chains]
        left, dy_unit, dy_at = (asm.gp.alloc(name) for name in ("units left", "dy unit", "dy at n"))
        x86.MOV(left, count)
        x86.MOV(dy_unit, dy)
        with asm.loop("bias", trips, left):
            for part in range(0, unit_bytes, width):
                x86.MOV(dy_at, dy_unit)
                for c, view in enumerate(views):
                    v.load(view, [dy_at + c * spec.dy.sample_bytes + part])
                asm.move(dy_at, len(views) * spec.dy.sample_bytes, f"dy: {advance(len(views), 'sample')}")
                for repeats, extent in parts(spec.x.n - len(views), len(views)):
                    with asm.loop("n", repeats):
                        for c in range(extent):
                            v.add(views[c], views[c], [dy_at + c * spec.dy.sample_bytes + part])
                        asm.move(dy_at, extent * spec.dy.sample_bytes, f"dy: {advance(extent, 'sample')}")
                for view in views[1:]:
                    v.add(views[0], views[0], view)
                self.end.take([views[0]], [bias + part])
            asm.move(dy_unit, unit_bytes, "dy: next unit of outputs")
            asm.move(bias, unit_bytes, "bias: next unit of outputs")
        asm.vec.free(*chains)
        asm.gp.free(left, dy_unit, dy_at)

    def _lanes_bytes(self, vectors: int) -> int:
        """From a sample's lanes of a tile to the next sample's."""
        packed_bytes = vectors * self.asm.isa.vector_bytes
        return packed_bytes if self.tile.packs_lanes else self.lanes.rows.sample_bytes

    def emit_tile(
        self, quads: int, vectors: int, lanes_tile: Any, factors_quad: Any, w_tile: Any, *, prefetches: bool = False
    ) -> None:
        """The whole sum over the samples for [quads * 4 factors][vectors], and what becomes of it.

        prefetches: the parameters of the next 4 factors.
        """
        asm, spec, v = self.asm, self.spec, self.asm.v
        a, b = self.factors, self.lanes
        n_factors = quads * DENSE_QUAD
        acc = [[asm.vec.alloc(f"g[{i}][{j}]") for j in range(vectors)] for i in range(n_factors)]
        lanes_vec = [asm.vec.alloc(f"{b.name}[{j}]") for j in range(vectors)] if self.tile.holds_lanes else []
        broadcast = asm.vec.alloc(f"{a.name}[n][{a.index}]")
        tile = f"{n_factors} {a.plural} x {counted(vectors, 'vector')} of {b.plural}"
        asm.comment(f"{self.roles.gradient} = 0 for {tile}")
        for register in (register for row in acc for register in row):
            v.zero(register)
        lanes_at, factors_at = asm.gp.alloc(f"{b.name} at n"), asm.gp.alloc(f"{a.name} at n")
        x86.MOV(lanes_at, lanes_tile)
        if self.spread is None:
            x86.MOV(factors_at, factors_quad)
        else:
            x86.LEA(factors_at, [self.spread])

        def add_samples(count: int) -> None:
            for trips, unroll in parts(count, min(self.tile.unroll, max(count, 1))):
                with asm.loop("n", trips):
                    for u in range(unroll):
                        self._multiply(acc, lanes_vec, broadcast, lanes_at, factors_at, u)
                    asm.move(lanes_at, unroll * self._lanes_bytes(vectors), f"{b.name}: {advance(unroll, 'sample')}")
                    asm.move(factors_at, unroll * self.factor_bytes, f"{a.name}: {advance(unroll, 'sample')}")

        ahead = f", while {self.end.goes_through} of the next {a.plural} arrive" if prefetches else ""
        asm.comment(f"{self.roles.gradient} += {a.name}[n][{a.index}] * {b.name}[n][{b.index}..]{ahead}")
        if prefetches:
            self._prefetching(vectors, w_tile, add_samples)
        add_samples(spec.x.n % DENSE_QUAD if prefetches else spec.x.n)
        asm.vec.free(broadcast, *lanes_vec)
        asm.gp.free(lanes_at, factors_at)
        asm.comment(self.end.comment)
        places = [
            (register, w_tile + i * spec.weights.row_bytes + j * spec.weights.vector_bytes)
            for i, row in enumerate(acc)
            for j, register in enumerate(row)
        ]
        while places:
            at_once = self.end.at_once
            now, places = places[:at_once], places[at_once:]
            self.end.take([register for register, _ in now], [address for _, address in now])
            asm.vec.free(*(register for register, _ in now))

    def _prefetching(self, vectors: int, w_tile: Any, add_samples: Callable[[int], None]) -> None:
        """All samples but n % 4; each quarter of them fetches a row of the next quad's parameters of these lanes."""
        asm, weights = self.asm, self.spec.weights
        samples = self.spec.x.n // DENSE_QUAD
        pieces = [size for count, size in parts(samples, self.tile.unroll) for _ in range(count)] or [0]
        ahead = asm.gp.alloc(f"parameters of a next {self.factors.plural[:-1]}")
        x86.LEA(ahead, [w_tile + self.quad_w_bytes])
        with self.end.distances() as distances, asm.loop("ahead", DENSE_QUAD, on_stack=True):
            lines = [
                ahead + distance + at
                for distance in (0, *distances)
                for at in range(0, vectors * weights.vector_bytes, max(LINE_BYTES, weights.vector_bytes))
            ]
            share = -(-len(lines) // len(pieces))
            for at, size in enumerate(pieces):
                for line in lines[at * share : (at + 1) * share]:
                    x86.PREFETCHT0([line])
                add_samples(size)
            asm.move(ahead, weights.row_bytes, "next row of parameters")
        asm.gp.free(ahead)

    def _multiply(
        self, acc: list[list[Any]], lanes_vec: list[Any], broadcast: Any, lanes: Any, factors: Any, n: int
    ) -> None:
        """One sample: g[factor][lane] += factors[n][factor] * lanes[n][lane]."""
        asm, v = self.asm, self.asm.v
        lanes_at = lanes + n * self._lanes_bytes(len(acc[0]))
        operands: list[Any] = [[lanes_at + j * asm.isa.vector_bytes] for j in range(len(acc[0]))]
        for j, register in enumerate(lanes_vec):
            v.load(register, operands[j])
            asm.note(f"{self.lanes.name}[n+{n}], vector {j}")
        for i, row in enumerate(acc):
            if self.spread is None:
                v.broadcast(broadcast, [factors + n * self.factor_bytes + i * asm.element_bytes])
            else:
                v.load(broadcast, [factors + n * self.factor_bytes + i * asm.isa.vector_bytes])
            for j, register in enumerate(row):
                v.fma(register, broadcast, lanes_vec[j] if lanes_vec else operands[j])

    def facts(self, source: str, slice_unit: str) -> Facts:
        spec = self.spec
        x, dy, w = spec.x, spec.dy, spec.weights
        ctype = dtype_tag(x.dtype)
        shapes = f"x {x.n} x {x.features}, dy {dy.n} x {w.out} -> {w.out} x {x.features}"
        limits = f"    n < {x.n}, o < {w.out}, k < {x.features}"
        notes = ["64-byte aligned", f"lanes are {self.lanes.plural}"]
        notes += [f"the bias behind {self.target}"] if spec.bias else []
        parameter_bytes = w.size_bytes if spec.bias else w.bias_offset_bytes
        return Facts(
            title=f"{spec.text}  {shapes}",
            source=f"asmgen/kernels/dense/{source}, dense_dw_frame.py",
            formula=(
                f"g[o,k] = sum_n dy[n,o] * x[n,k]{limits}" + (",  g_b[o] = sum_n dy[n,o]" if spec.bias else ""),
                *self.end.formula,
            ),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "64-byte aligned"),
                Argument("rsi", "dy", ctype, str(dy), "in", "64-byte aligned"),
                *self.end.described(notes),
            ),
            slice_unit=f"{slice_unit}, 0..{spec.slice_units()}",
            flops=spec.flops(),
            flops_note="of the product",
            bytes_read=x.size_bytes + dy.size_bytes + self.end.n_read * parameter_bytes,
            bytes_written=spec.n_blocks * parameter_bytes,
            tile=str(self.tile),
        )
