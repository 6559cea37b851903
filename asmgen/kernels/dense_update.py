"""Dense layer, gradient of the parameters and the optimizer's step: g[o,k] = sum_n dy[n,o] x[n,k], then w, b, states.

Lanes run along k. A tile of 4 outputs x vectors of inputs stays in registers while the sum runs over the samples in
order; the step consumes it there, so the gradient is never stored. A block of inputs meets all outputs of the slice
before the next block is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86
from peachpy.x86_64.operand import MemoryOperand

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.dense_copies import pack_inputs, spread_gradient
from asmgen.kernels.optimizer_step import HYPER, OptimizerStep, formula, load_scalar, scalar_names
from asmgen.plan.layout import DENSE_ROW_GROUP, LINE_BYTES
from asmgen.plan.specs import DenseUpdate, dtype_tag
from asmgen.tile.dense import UpdateTile, choose_update_tile
from asmgen.tile.split import parts
from asmgen.tile.words import counted

_BIAS_CHAINS = 4  # accumulators of a bias gradient, so that additions do not wait for each other
_STEPS_AT_ONCE = 4  # gradients whose steps are interleaved, to overlap their latencies


def emit(spec: DenseUpdate, isa: Isa, tile: UpdateTile | None = None) -> Listing:
    """The listing of one kernel (arguments: x, dy, w with bias and states, hyper; slice: groups of 4 outputs)."""
    return _DenseUpdate(spec, isa, tile or choose_update_tile(spec, isa)).emit()


class _DenseUpdate:
    """One emission: the assembler, the tile and the registers that live throughout."""

    def __init__(self, spec: DenseUpdate, isa: Isa, tile: UpdateTile) -> None:
        self.spec = spec
        self.tile = tile
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.v = self.asm.v
        self.group_bytes = DENSE_ROW_GROUP * self.asm.element_bytes  # of dy and the bias
        self.group_w_bytes = DENSE_ROW_GROUP * spec.weights.row_bytes
        spread_bytes = DENSE_ROW_GROUP * isa.vector_bytes
        self.dy_bytes = spread_bytes if tile.spreads_dy else spec.dy.sample_bytes  # from a sample's dy to the next's
        self.explained = False  # the step's comments stand where it occurs first

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        with asm:
            names = enumerate(("x", "dy", "w", "hyper"))
            self.x, self.dy, self.w, hyper = (asm.argument(i, name) for i, name in names)
            begin, self.n_groups = asm.argument(4, "begin"), asm.argument(5, "end / groups in the slice")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, self.n_groups)
            x86.JAE(done)
            self.step = OptimizerStep(asm, spec.update, self._scalars(hyper))
            asm.gp.free(hyper)
            block_bytes = spec.x.n * self.tile.block_tiles * self.tile.vectors * asm.isa.vector_bytes
            self.packed_x = asm.scratch(block_bytes) if self.tile.packs_x else None
            self.spread_dy = asm.scratch(spec.x.n * self.dy_bytes) if self.tile.spreads_dy else None
            asm.comment(f"move dy, w{' and the bias' if spec.bias else ''} to the first group of the slice")
            x86.SUB(self.n_groups, begin)
            offset = asm.gp.alloc("offset")
            x86.IMUL(offset, begin, self.group_w_bytes)
            x86.IMUL(begin, begin, self.group_bytes)
            x86.ADD(self.dy, begin)
            if spec.bias:
                bias = asm.gp.alloc("bias")
                x86.LEA(bias, [self.w + begin * 1 + spec.weights.bias_offset_bytes])
            x86.ADD(self.w, offset)
            asm.gp.free(offset, begin)
            if spec.bias:
                self._bias(bias)
                asm.gp.free(bias)
            self._blocks()
            asm.place(done)
        return asm.finish(self._facts())

    def _scalars(self, hyper: Any) -> dict[str, Any]:
        """The step's scalars on the frame: the tile leaves no registers for them."""
        asm, update = self.asm, self.spec.update
        asm.comment("the step's scalars, in every lane, on the frame")
        names = scalar_names(update)
        frame = asm.scratch(len(names) * asm.isa.vector_bytes)
        found = {name: MemoryOperand(frame + at * asm.isa.vector_bytes) for at, name in enumerate(names)}
        register = asm.vec.alloc("scalar")
        for name, place in found.items():
            load_scalar(asm, update, name, register, hyper)
            asm.v.store(place, register)
        asm.vec.free(register)
        return found

    def _bias(self, bias: Any) -> None:
        """The step of the slice's biases, 4 outputs at a time."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        asm.comment(f"g[o..o+3] = sum_n dy[n][o..o+3], in {_BIAS_CHAINS} chains of samples")
        width = min(self.group_bytes, asm.isa.vector_bytes)
        chains = [asm.vec.alloc(f"g chain {c}") for c in range(min(_BIAS_CHAINS, spec.x.n))]
        views = [register.as_xmm if width == 16 else register.as_ymm for register in chains]
        group, dy, dy_at = asm.gp.alloc("groups left"), asm.gp.alloc("dy group"), asm.gp.alloc("dy at n")
        x86.MOV(group, self.n_groups)
        x86.MOV(dy, self.dy)
        with asm.loop("bias", "groups in the slice", group):
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
                self._take_step([views[0]], [bias + part])
            x86.ADD(dy, self.group_bytes)
            x86.ADD(bias, self.group_bytes)
        asm.vec.free(*chains)
        asm.gp.free(group, dy, dy_at)

    def _take_step(self, g: list[Any], w_at: list[Any]) -> None:
        """The step for gradients whose parameters lie at these addresses, and the states behind them."""
        states_at = [[address + distance for address in w_at] for distance in self.spec.state_bytes]
        self.step.emit(g, w_at, states_at, explain=not self.explained)
        self.explained = True

    def _blocks(self) -> None:
        """The weights of the slice, a block of inputs after the other."""
        asm, tile = self.asm, self.tile
        n_tiles, tail = divmod(self.spec.x.n_vectors, tile.vectors)
        n_blocks, tiles_left = divmod(n_tiles, tile.block_tiles)
        block_bytes = tile.block_tiles * tile.vectors * asm.isa.vector_bytes
        with asm.loop("block", n_blocks):
            self._groups([(tile.block_tiles, tile.vectors)])
            x86.ADD(self.x, block_bytes)
            x86.ADD(self.w, block_bytes)
        rest = parts(tiles_left * tile.vectors + tail, tile.vectors)
        if rest:
            asm.comment("the last inputs")
            self._groups(rest)

    def _groups(self, tiles: list[tuple[int, int]]) -> None:
        """Every group of 4 outputs against one block of inputs, given as (tiles, their vectors)."""
        asm = self.asm
        if self.packed_x is not None:
            pack_inputs(asm, self.spec, self.x, self.packed_x, tiles)
        group, x_tile, dy, w_group, w_tile = (
            asm.gp.alloc(name) for name in ("groups left", "x tile", "dy group", "w group", "w tile")
        )
        x86.MOV(group, self.n_groups)
        x86.MOV(dy, self.dy)
        x86.MOV(w_group, self.w)
        with asm.loop("g", "groups in the slice", group):
            if self.spread_dy is not None:
                spread_gradient(asm, self.spec, dy, self.spread_dy)
            if self.packed_x is None:
                x86.MOV(x_tile, self.x)
            else:
                x86.LEA(x_tile, [self.packed_x])
            x86.MOV(w_tile, w_group)
            for count, vectors in tiles:
                with asm.loop("k", count):
                    self._tile(vectors, x_tile, dy, w_tile)
                    tile_bytes = vectors * asm.isa.vector_bytes
                    x86.ADD(x_tile, self.spec.x.n * tile_bytes if self.tile.packs_x else tile_bytes)
                    x86.ADD(w_tile, vectors * asm.isa.vector_bytes)
            x86.ADD(dy, self.group_bytes)
            x86.ADD(w_group, self.group_w_bytes)
        asm.gp.free(group, x_tile, dy, w_group, w_tile)

    def _x_bytes(self, vectors: int) -> int:
        """From a sample's inputs of a tile to the next sample's."""
        return vectors * self.asm.isa.vector_bytes if self.tile.packs_x else self.spec.x.sample_bytes

    def _tile(self, vectors: int, x_tile: Any, dy_group: Any, w_tile: Any) -> None:
        """The whole sum over the samples for [4 outputs][vectors], and the step."""
        asm, spec, v = self.asm, self.spec, self.asm.v
        acc = [[asm.vec.alloc(f"g[{o}][{k}]") for k in range(vectors)] for o in range(DENSE_ROW_GROUP)]
        x_vec = [asm.vec.alloc(f"x[{k}]") for k in range(vectors)] if self.tile.holds_x else []
        broadcast = asm.vec.alloc("dy[n][o]")
        asm.comment(f"g[o][k] = 0 for {DENSE_ROW_GROUP} outputs x {counted(vectors, 'vector')} of inputs")
        for register in (register for row in acc for register in row):
            v.zero(register)
        x, dy = asm.gp.alloc("x at n"), asm.gp.alloc("dy at n")
        x86.MOV(x, x_tile)
        if self.spread_dy is None:
            x86.MOV(dy, dy_group)
        else:
            x86.LEA(dy, [self.spread_dy])

        def add_samples(count: int) -> None:
            for trips, unroll in parts(count, min(self.tile.unroll, max(count, 1))):
                with asm.loop("n", trips):
                    for u in range(unroll):
                        self._multiply(acc, x_vec, broadcast, x, dy, u)
                    x86.ADD(x, unroll * self._x_bytes(vectors))
                    x86.ADD(dy, unroll * self.dy_bytes)

        ahead = ", while the parameters of the next outputs arrive" if self.tile.prefetches else ""
        asm.comment(f"g[o][k] += dy[n][o] * x[n][k..]{ahead}")
        if self.tile.prefetches:
            self._prefetching(vectors, w_tile, add_samples)
        add_samples(spec.x.n % DENSE_ROW_GROUP if self.tile.prefetches else spec.x.n)
        asm.vec.free(broadcast, *x_vec)
        asm.gp.free(x, dy)
        asm.comment("the step, in place")
        places = [
            (register, w_tile + o * spec.weights.row_bytes + k * asm.isa.vector_bytes)
            for o, row in enumerate(acc)
            for k, register in enumerate(row)
        ]
        while places:
            at_once = min(_STEPS_AT_ONCE, asm.vec.n_free() // self.step.n_registers)
            now, places = places[:at_once], places[at_once:]
            self._take_step([register for register, _ in now], [address for _, address in now])
            asm.vec.free(*(register for register, _ in now))

    def _prefetching(self, vectors: int, w_tile: Any, add_samples: Callable[[int], None]) -> None:
        """All samples but n % 4; each quarter of them fetches one of the next outputs' parameters of these inputs."""
        asm, weights = self.asm, self.spec.weights
        samples = self.spec.x.n // DENSE_ROW_GROUP
        lines = [
            distance + at
            for distance in (0, *self.spec.state_bytes)
            for at in range(0, vectors * asm.isa.vector_bytes, LINE_BYTES)
        ]
        pieces = [size for count, size in parts(samples, self.tile.unroll) for _ in range(count)] or [0]
        share = -(-len(lines) // len(pieces))
        ahead = asm.gp.alloc("parameters of a next output")
        x86.LEA(ahead, [w_tile + self.group_w_bytes])
        with asm.loop("ahead", DENSE_ROW_GROUP, on_stack=True):
            for at, size in enumerate(pieces):
                for line in lines[at * share : (at + 1) * share]:
                    x86.PREFETCHT0([ahead + line])
                add_samples(size)
            x86.ADD(ahead, weights.row_bytes)
        asm.gp.free(ahead)

    def _multiply(self, acc: list[list[Any]], x_vec: list[Any], broadcast: Any, x: Any, dy: Any, n: int) -> None:
        """One sample: acc[o][k] += dy[n][o] * x[n][k]."""
        asm, v = self.asm, self.asm.v
        x_at = x + n * self._x_bytes(len(acc[0]))
        operands: list[Any] = [[x_at + k * asm.isa.vector_bytes] for k in range(len(acc[0]))]
        for k, register in enumerate(x_vec):
            v.load(register, operands[k])
            asm.note(f"x[n+{n}], vector {k}")
        for o, row in enumerate(acc):
            if self.spread_dy is None:
                v.broadcast(broadcast, [dy + n * self.dy_bytes + o * asm.element_bytes])
            else:
                v.load(broadcast, [dy + n * self.dy_bytes + o * asm.isa.vector_bytes])
            for k, register in enumerate(row):
                v.fma(register, broadcast, x_vec[k] if x_vec else operands[k])

    def _facts(self) -> Facts:
        spec = self.spec
        x, dy, w = spec.x, spec.dy, spec.weights
        ctype = dtype_tag(x.dtype)
        limits = f"    n < {x.n}, o < {w.out}, k < {x.features}"
        n_states = spec.update.n_states
        behind = [*(["the bias behind w"] if spec.bias else [])]
        behind += [f"state {at}: + {distance}" for at, distance in enumerate(spec.state_bytes, start=1)]
        parameter_bytes = w.n_rows * w.row_bytes + (spec.bias and w.n_rows * self.asm.element_bytes)
        return Facts(
            title=f"dense_dw+{spec.update.kind}  x {x.n} x {x.features}, dy {dy.n} x {w.out} -> {w.out} x {x.features}",
            source="asmgen/kernels/dense_update.py",
            formula=(
                f"g[o,k] = sum_n dy[n,o] * x[n,k]{limits}" + (",  g_b[o] = sum_n dy[n,o]" if spec.bias else ""),
                *formula(spec.update),
            ),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "64-byte aligned"),
                Argument("rsi", "dy", ctype, str(dy), "in", "64-byte aligned"),
                Argument("rdx", "w", ctype, str(w), "in/out", "; ".join(["64-byte aligned", *behind])),
                Argument("rcx", "hyper", ctype, f"[{len(HYPER)}]", "in", ", ".join(HYPER)),
            ),
            slice_unit=f"groups of {DENSE_ROW_GROUP} outputs, 0..{spec.slice_units()}",
            flops=spec.flops(),
            flops_note="of the product",
            bytes_read=x.size_bytes + dy.size_bytes + (1 + n_states) * parameter_bytes,
            bytes_written=(1 + n_states) * parameter_bytes,
            tile=str(self.tile),
        )
