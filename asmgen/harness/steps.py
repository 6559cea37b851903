"""Whole training steps on the kernels, compared with the float64 reference entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.errors import AsmgenError
from asmgen.harness.machine import Machine
from asmgen.model.network import Model
from asmgen.model.shapes import classes_of
from asmgen.plan.plan import Entry, Plan
from asmgen.reference.interpret import Interpreter

Array = np.ndarray[Any, Any]

#: Largest accepted norm of the error over the norm of the value, for one tensor of one step. Sums of n products err by
#: about sqrt(n) roundings; a step chains some twenty such sums, and later steps start from the errors of earlier ones.
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


class StepError(AsmgenError):
    """A tensor of a training step is not what the reference says; names the first plan entry that differs."""


@dataclass(frozen=True)
class Difference:
    """One output of one entry of one step. relative: norm of the error / norm of the value.

    ulps: the largest error in units of the last place of the tensor's largest value.
    """

    step: int
    entry: Entry
    tensor: str
    relative: float
    ulps: float


def compare_steps(
    model: Model,
    plan: Plan,
    isa: Isa,
    listings: Mapping[str, Listing],
    parameters: Mapping[str, Array],
    n_steps: int = 10,
) -> Iterator[Difference]:
    """Run `n_steps` steps on random images; yields every output's difference, in execution order.

    Both sides start from `parameters` and then go their own ways; the last step has an incomplete batch. Shared memory
    is filled with NaN before each step. Raises StepError at the first difference above TOLERANCE.
    """
    rng = np.random.default_rng(model.seed)
    count = 2 * model.batch_size
    images = rng.integers(0, 256, (count, *model.input)).astype(np.uint8)
    labels = rng.integers(0, classes_of(model), count)
    machine, reference = Machine(plan, isa, listings), Interpreter(plan, parameters)
    machine.set_parameters({name: value.astype(model.dtype) for name, value in parameters.items()})
    reference.run("derive")
    for step in range(1, n_steps + 1):
        present = model.batch_size if step < n_steps else (model.batch_size + 1) // 2
        indices = np.zeros(model.batch_size, np.int64)
        indices[:present] = rng.permutation(count)[:present]
        chosen = np.where(np.arange(model.batch_size) < present, labels[indices], 0)
        reference.begin_step(images, indices, chosen, present, model.optimizer.lr)
        hyper = reference.values["hyper"]
        machine.poison()
        machine.begin_step(images, indices, chosen, present, hyper)
        for entry in plan.entries:
            machine.execute(entry)
            reference.execute(entry)
            for difference in _differences(step, entry, machine, reference):
                yield difference
                if not difference.relative <= TOLERANCE[plan.dtype]:
                    raise StepError(
                        f"step {step}, {entry.layer}: {entry.text}: {difference.tensor} differs from the reference by "
                        f"{difference.relative:.3g} of its norm; limit {TOLERANCE[plan.dtype]:.0e} "
                        f"(kernel {entry.spec.symbol(isa.name)})"
                    )


def _differences(step: int, entry: Entry, machine: Machine, reference: Interpreter) -> Iterator[Difference]:
    for name, got, expected in _pairs(entry, machine, reference):
        got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64).reshape(np.shape(got))
        error, norm = float(np.linalg.norm(got - expected)), float(np.linalg.norm(expected))
        largest = float(np.abs(expected).max(initial=0.0))
        unit = float(np.spacing(np.asarray(largest, machine.dtype)))
        relative = error if norm == 0 else error / norm
        yield Difference(step, entry, name, relative, float(np.abs(got - expected).max(initial=0.0)) / unit)


def _pairs(entry: Entry, machine: Machine, reference: Interpreter) -> Iterator[tuple[str, Array, Array]]:
    """(name, the machine's value, the reference's) of every output that has a logical value."""
    for name in entry.outputs:
        if name == "params":
            for parameter, value in machine.parameters().items():
                yield parameter, value, reference.parameters()[parameter]
        elif name == "loss":
            yield "losses", machine.losses()[0], reference.values["loss"][0]
        elif machine.plan.tensor(name).layout is not None:
            got, expected = machine.read(name), reference.values[name]
            if isinstance(got, tuple):
                yield f"{name} weight", got[0], expected[0]
                yield f"{name} bias", got[1], expected[1]
            else:
                yield name, got, expected
