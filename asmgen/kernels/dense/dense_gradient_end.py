"""What becomes of a dense layer's gradients in registers: the optimizer's step takes them, or they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peachpy.x86_64 as x86
from peachpy.x86_64.operand import MemoryOperand

from asmgen.asm.assembler import Assembler
from asmgen.asm.listing import Argument
from asmgen.kernels.optimizer.optimizer_step import HYPER, OptimizerStep, formula, load_scalar, scalar_names
from asmgen.plan.specs import DenseBackwardWeights, DenseBackwardWeightsStep, DenseWeightGradient, dtype_tag

_STEPS_AT_ONCE = 4  # gradients whose steps are interleaved, to overlap their latencies


class Step:
    """The step of the parameters w, in place, their states behind them."""

    arguments = ("w", "hyper")  # behind x and dy
    comment = "the step, in place"
    goes_through = "the parameters"

    def __init__(self, asm: Assembler, spec: DenseBackwardWeightsStep) -> None:
        self.asm, self.spec = asm, spec
        self._is_explained = False  # the step's comments stand where it occurs first

    def set_up(self, hyper: Any) -> None:
        """The step's scalars; frees the register with the hyper block."""
        self._step = OptimizerStep(self.asm, self.spec.update, self._scalars(hyper))
        self.asm.gp.free(hyper)

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

    @property
    def at_once(self) -> int:
        """Gradients that `take` is given in one call, at most: as many as there are registers for."""
        return min(_STEPS_AT_ONCE, self.asm.vec.n_free() // self._step.n_registers)

    def take(self, g: list[Any], w_at: list[Any]) -> None:
        """The step for gradients whose parameters lie at these addresses, and the states behind them."""
        with self.distances() as distances:
            states_at = [[address + distance for address in w_at] for distance in distances]
            self._step.emit(g, w_at, states_at, explain=not self._is_explained)
        self._is_explained = True

    @contextmanager
    def distances(self) -> Iterator[list[Any]]:
        """From w to each state, to be added to an address: numbers, or multiples of a register where they are far."""
        if not self.spec.has_far_states:
            yield list(self.spec.state_bytes)
            return
        distance = self.asm.gp.alloc("from w to state 1")
        x86.MOV(distance, self.spec.state_bytes[0])
        yield [distance * state for state in range(1, len(self.spec.state_bytes) + 1)]
        self.asm.gp.free(distance)

    # for the header --------------------------------------------------------------------------------------------------

    @property
    def formula(self) -> tuple[str, ...]:
        return formula(self.spec.update)

    def described(self, notes: list[str]) -> tuple[Argument, ...]:
        """The arguments behind x and dy. notes: of the parameter block."""
        ctype, weights = dtype_tag(self.spec.x.dtype), self.spec.weights
        notes += [f"state {at}: + {distance}" for at, distance in enumerate(self.spec.state_bytes, start=1)]
        return (
            Argument("rdx", "w", ctype, str(weights), "in/out", "; ".join(notes)),
            Argument("rcx", "hyper", ctype, f"[{len(HYPER)}]", "in", ", ".join(HYPER)),
        )

    @property
    def n_read(self) -> int:
        """Parameter blocks that the kernel reads."""
        return self.spec.n_blocks


class Store:
    """The gradients go to dw, which lies as the weights do."""

    arguments = ("dw",)
    comment = "store dw"
    goes_through = "the lines of dw"
    formula = ("dw = g",)
    n_read = 0

    def __init__(self, asm: Assembler, spec: DenseBackwardWeights) -> None:
        self.asm, self.spec = asm, spec

    def set_up(self) -> None:
        """Nothing is needed."""

    @property
    def at_once(self) -> int:
        return self.asm.isa.n_vregs

    def take(self, g: list[Any], dw_at: list[Any]) -> None:
        for register, address in zip(g, dw_at, strict=True):
            self.asm.v.store([address], register)

    @contextmanager
    def distances(self) -> Iterator[list[Any]]:
        """No states lie behind dw."""
        yield []

    def described(self, notes: list[str]) -> tuple[Argument, ...]:
        return (Argument("rdx", "dw", dtype_tag(self.spec.x.dtype), str(self.spec.weights), "out", "; ".join(notes)),)


End = Step | Store

_ENDS: dict[type[DenseWeightGradient], Callable[[Assembler, Any], End]] = {
    DenseBackwardWeightsStep: Step,
    DenseBackwardWeights: Store,
}


def end_of(asm: Assembler, spec: DenseWeightGradient) -> End:
    """What the kernel of a spec does with its gradients."""
    return _ENDS[type(spec)](asm, spec)
