"""One optimizer step over a slice of all parameters (formulas: docs/architecture.md, Hyper block).

Pure streaming: nothing is reused, so four vectors are in flight to overlap their latencies.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.optimizer.optimizer_step import HYPER, OptimizerStep, formula, load_scalar, scalar_names
from asmgen.plan.specs import Update, dtype_tag
from asmgen.tile.common.count_text import advance

_UNROLL = 4  # vectors in flight


def emit(spec: Update, isa: Isa) -> Listing:
    """The listing of one kernel (arguments: params, grads, state, hyper; slice: vectors)."""
    return _Update(spec, isa).emit()


class _Update:
    """One emission: the assembler, the pointers at the slice's current vector, the broadcast hyper parameters."""

    def __init__(self, spec: Update, isa: Isa) -> None:
        self.spec = spec
        self.asm = Assembler(isa, spec.dtype, spec.symbol(isa.name))
        self.state_bytes = spec.n_vectors * isa.vector_bytes  # from a state to the next

    def emit(self) -> Listing:
        asm, spec = self.asm, self.spec
        with asm:
            self.params, self.grads = asm.argument(0, "params"), asm.argument(1, "grads")
            self.states = [asm.argument(2, "state")] if spec.n_states else []
            hyper = asm.argument(3, "hyper")
            begin, end = asm.argument(4, "begin"), asm.argument(5, "end / vectors left over")
            asm.release_arguments()
            done = asm.label("done")
            x86.CMP(begin, end)
            x86.JAE(done)
            asm.comment("move every pointer to the first vector of the slice")
            x86.SUB(end, begin)
            x86.IMUL(begin, begin, asm.isa.vector_bytes)
            for pointer in (self.params, self.grads, *self.states):
                x86.ADD(pointer, begin)
            if spec.n_states == 2:
                self.states.append(asm.gp.alloc("second state"))
                if self.state_bytes < 1 << 31:
                    x86.LEA(self.states[1], [self.states[0] + self.state_bytes])
                else:  # out of a displacement's reach
                    x86.MOV(self.states[1], self.state_bytes)
                    x86.ADD(self.states[1], self.states[0])
            asm.gp.free(begin)
            asm.comment("the step's scalars, in every lane")
            scalars = {name: asm.vec.alloc(name) for name in scalar_names(spec)}
            for name, register in scalars.items():
                load_scalar(asm, spec, name, register, hyper)
            asm.gp.free(hyper)
            self.step = OptimizerStep(asm, spec, scalars)
            blocks = asm.gp.alloc("blocks left")
            x86.MOV(blocks, end)
            x86.SHR(blocks, _UNROLL.bit_length() - 1)
            x86.AND(end, _UNROLL - 1)
            self._loop("block", f"vectors of the slice / {_UNROLL}", blocks, _UNROLL)
            self._loop("single", f"vectors of the slice % {_UNROLL}", end, 1)
            asm.place(done)
        return asm.finish(self._facts())

    def _loop(self, name: str, trips: str, count: Any, vectors: int) -> None:
        asm = self.asm
        with asm.loop(name, trips, count):
            g = [asm.vec.alloc(f"g[{i}]") for i in range(vectors)]
            for register, address in zip(g, self._addresses(self.grads, vectors), strict=True):
                asm.v.load(register, [address])
            states = [self._addresses(state, vectors) for state in self.states]
            self.step.emit(g, self._addresses(self.params, vectors), states, explain=vectors > 1)
            asm.vec.free(*g)
            for pointer in (self.params, self.grads, *self.states):
                asm.move(
                    pointer, vectors * asm.isa.vector_bytes, f"{asm.name_of(pointer)}: {advance(vectors, 'vector')}"
                )

    def _addresses(self, pointer: Any, count: int) -> list[Any]:
        return [pointer + i * self.asm.isa.vector_bytes for i in range(count)]

    def _facts(self) -> Facts:
        spec = self.spec
        ctype = dtype_tag(spec.dtype)
        shape = f"[{spec.n_vectors}][{spec.block}]"
        states = "v" if spec.n_states == 1 else "m, then v"
        state = Argument("rdx", "state", ctype, f"[{spec.n_states}]{shape}", "in/out", states)
        return Facts(
            title=f"{spec.text}  {spec.n_vectors * spec.block} parameters",
            source="asmgen/kernels/optimizer/update.py",
            formula=formula(spec),
            arguments=(
                Argument("rdi", "params", ctype, shape, "in/out", "64-byte aligned"),
                Argument("rsi", "grads", ctype, shape, "in", "64-byte aligned"),
                *((state,) if spec.n_states else ()),
                Argument("rcx", "hyper", ctype, f"[{len(HYPER)}]", "in", ", ".join(HYPER)),
            ),
            slice_unit=f"vectors, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=(2 + spec.n_states) * self.state_bytes,
            bytes_written=(1 + spec.n_states) * self.state_bytes,
            tile=f"{_UNROLL} vectors in flight, then single ones",
        )
