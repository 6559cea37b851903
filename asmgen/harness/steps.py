"""Whole training steps on the kernels, compared with the float64 reference entry by entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.errors import AsmgenError
from asmgen.graph.differentiate import next_name
from asmgen.harness.cases.case import unpack_codes
from asmgen.harness.machine import PlanMemory
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.ops.batch_norm import along
from asmgen.plan import specs
from asmgen.plan.layout import Image, NormTable
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.specs.batch_norm import Moments
from asmgen.plan.winograd import TransformedWeights
from asmgen.reference.activations import slope
from asmgen.reference.interpret import Interpreter

Array = np.ndarray[Any, Any]
_Sides = tuple[Array, Array]  # the machine's value, the reference's

#: Largest accepted norm of the error over the norm of the value, for one tensor of one step. Sums of n products err by
#: about sqrt(n) roundings; a step chains some twenty such sums, and later steps start from the errors of earlier ones.
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}
#: The same where products are of TF32 numbers, of 11 bits.
TF32_TOLERANCE = 2e-2


#: Largest accepted share of values whose ReLU or argmax the kernels decide otherwise (see _adopt_decisions).
MAX_FLIPS = 1e-3


#: Slopes of an activation that differ by more lie on two sides of a kink, as 0 and 1 of a ReLU.
_JUMP = 0.25


class StepError(AsmgenError):
    """A tensor of a training step is not what the reference says; names the first plan entry that differs."""


_DECIDING = (
    specs.Conv2dForward,
    specs.Conv2dForwardWinograd,
    specs.PoolForward,
    specs.DenseForward,
    specs.DenseForwardByOutput,
    specs.ActForward,
    specs.BatchNormForward,
)


#: Kernels whose outputs may be small beside the terms that they are sums of (see _floor).
_CANCELLING = (
    specs.Loss,
    specs.DenseForward,
    specs.DenseForwardByOutput,
    specs.Conv2dBackwardWeights,
    specs.Conv2dBackwardWeightsSparse,
    specs.Conv2dBackwardWeightsPooled,
    specs.DenseBackwardWeights,
    specs.BatchNormBackwardWeights,
    specs.SumParts,
)


@dataclass(frozen=True)
class Difference:
    """One output of one entry of one step. relative: norm of the error / norm of the value.

    ulps: the largest error in units of eps times the tensor's largest value.
    """

    step: int
    entry: Entry
    tensor: str
    relative: float
    ulps: float


def compare_steps(
    model: Model,
    machine: PlanMemory,
    parameters: Mapping[str, Array],
    n_steps: int = 10,
    tolerance: float | None = None,
) -> Iterator[Difference]:
    """Run `n_steps` steps of `machine` on random images; yields every output's difference, in execution order.

    Both sides start from `parameters` and then go their own ways, but for the decisions that rounding takes (see
    _adopt_decisions); the last step has an incomplete batch. Shared memory is filled with NaN before each step. Raises
    StepError at the first difference above `tolerance` (default: TOLERANCE).
    """
    limit = TOLERANCE[machine.plan.dtype] if tolerance is None else tolerance
    most_flips = max(MAX_FLIPS, limit)
    rng = np.random.default_rng(model.seed)
    count = 2 * model.batch_size
    images = rng.integers(0, 256, (count, *model.input)).astype(np.uint8)
    labels = rng.integers(0, classes_of(model), count)
    plan = machine.plan
    reference = Interpreter(plan, parameters)
    reference.seed = machine.seed
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
            before = _weights(entry, machine, reference)
            machine.execute(entry)
            reference.execute(entry)
            for difference in _differences(step, entry, machine, reference, present, before):
                yield difference
                if not difference.relative <= limit:
                    raise StepError(
                        f"step {step}, {entry.layer}: {entry.text}: {difference.tensor} differs from the reference by "
                        f"{difference.relative:.3g} of its norm; limit {limit:.0e} "
                        f"(kernel {entry.spec.symbol(machine.target)})"
                    )
            flips = _adopt_decisions(entry, machine, reference)
            if flips > most_flips:
                raise StepError(
                    f"step {step}, {entry.layer}: {entry.text}: {flips:.2%} of the values take another side of a ReLU "
                    f"or another maximum than the reference; limit {most_flips:.1%}"
                )


def _floor(entry: Entry, name: str, machine: PlanMemory, reference: Interpreter, present: int) -> float:
    """What an output may err by absolutely, in each element, where its terms may cancel.

    A loss's gradient is a difference of numbers up to 1 / present (a class's share of the weights), small where the
    network is sure and right. A dense layer's sums have terms as large as |x| |w|, a bias's gradient as
    large as those of dz. A normalisation's gradients sum dy and dy (x - mean) / deviation: that of the weight is 0
    where only layers follow that a factor passes through, up to the next normalisation of the same channels.
    """
    eps, spec = float(np.finfo(machine.dtype).eps), entry.spec
    if isinstance(spec, specs.Loss):
        weights = spec.class_weights or (1.0,)
        return 8 * eps / present * max(weights) / min(weights)
    if isinstance(spec, specs.DenseForward | specs.DenseForwardByOutput):
        x, weights = (reference.values[arg] for arg in entry.args[:2] if arg)
        rows = x.reshape(len(x), -1)
        return 8 * eps * float(np.linalg.norm(rows, axis=1).max() * np.linalg.norm(weights[0], axis=1).max())
    if isinstance(spec, specs.BatchNormBackwardWeights):
        return 8 * eps * _largest_norm_terms(entry, name, machine.plan, reference)
    if not name.endswith(" bias"):
        return 0.0
    if isinstance(spec, specs.SumParts):
        entry = next(each for each in machine.plan.entries if entry.inputs[0] in each.outputs)
    dz = np.asarray(reference.values[entry.args[1] or ""])
    return 8 * eps * float(np.abs(dz).sum(axis=(0, *range(2, dz.ndim))).max())


def _largest_norm_terms(entry: Entry, name: str, plan: Plan, reference: Interpreter) -> float:
    """Of the channels: the largest sum of |terms| of a normalisation's `name`, one of its gradients or dx's terms."""
    made = next(each for each in plan.entries if entry.inputs[0] in each.outputs)
    dy, x = (reference.values[arg] for arg in made.inputs[:2])
    moments: Moments = reference.values[entry.inputs[1]]
    size, axes = np.abs(dy), (0, *range(2, np.ndim(dy)))
    away = np.abs(x - along(moments.mean, x)) * along(moments.rstd, x)
    sums = {"bias": size.sum(axes), "weight": (size * away).sum(axes)}
    factor = np.abs(moments.scale) / moments.m
    sums |= {"db": sums["bias"] * factor, "dw": sums["weight"] * factor * moments.rstd}
    return float(sums[name.rpartition(" ")[2]].max()) if name.rpartition(" ")[2] in sums else 0.0


def _differences(
    step: int, entry: Entry, machine: PlanMemory, reference: Interpreter, present: int, before: _Sides | None
) -> Iterator[Difference]:
    for name, got, expected in _pairs(entry, machine, reference):
        floor = _floor(entry, name, machine, reference, present) if isinstance(entry.spec, _CANCELLING) else 0.0
        yield _difference(step, entry, machine, name, got, expected, floor)
    after = _weights(entry, machine, reference)
    if before and after:
        # The subtraction w - lr * g is rounded to the spacing of w.
        floor = float(np.finfo(machine.dtype).eps) * float(np.abs(after[1]).max())
        got, expected = (new - old for new, old in zip(after, before, strict=True))
        yield _difference(step, entry, machine, f"{entry.outputs[0]} change", got, expected, floor)


def _weights(entry: Entry, machine: PlanMemory, reference: Interpreter) -> _Sides | None:
    """The weights that an update without states works on: only their change shows its gradient, which is not stored."""
    if not isinstance(entry.spec, specs.DenseBackwardWeightsStep) or entry.spec.update.n_states:
        return None
    name = entry.outputs[0]
    known = name if name in reference.values else machine.plan.home(name)
    return np.asarray(machine.read(name)[0], np.float64), reference.values[known][0]


def _difference(
    step: int, entry: Entry, machine: PlanMemory, name: str, got: Array, expected: Array, floor: float
) -> Difference:
    """floor: what each element may err by, beside its share of the norm."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64).reshape(np.shape(got))
    norm = float(np.linalg.norm(expected))
    error = max(0.0, float(np.linalg.norm(got - expected)) - floor * np.sqrt(expected.size))
    unit = float(np.finfo(machine.dtype).eps) * float(np.abs(expected).max(initial=0.0))
    farthest = float(np.abs(got - expected).max(initial=0.0))
    ulps = farthest / unit if unit else 0.0 if farthest == 0 else float("inf")
    return Difference(step, entry, name, error / norm if norm else error, ulps)


def _as_laid_out(machine: PlanMemory, name: str, value: Any) -> Any:
    """The reference's value as `machine.read` gives it: weights that are stored transformed are (w, b) there."""
    layout = machine.plan.tensor(name).layout
    if not isinstance(layout, TransformedWeights):
        return value
    w, b = (value, np.zeros(0)) if layout.mirrored else value
    return dataclasses.replace(layout, dtype="float64").unpack(dataclasses.replace(layout, dtype="float64").pack(w, b))


def _adopt_decisions(entry: Entry, machine: PlanMemory, reference: Interpreter) -> float:
    """Take over which values a ReLU passed, or on which side of another kink an activation took them, and which a max
    pool chose; returns the share that differed.

    Two values that are equal but for rounding can be ordered either way, and the gradient then flows another way: both
    are right, and neither converges to the other. The values themselves were compared before and stay as they are.
    The gradient of the loss is taken over, too: where it cancels, all that follows would inherit its relative error.
    """
    spec = entry.spec
    if isinstance(spec, specs.Loss):
        reference.values[entry.outputs[0]] = np.asarray(machine.read(entry.outputs[0]), np.float64)
        return 0.0
    if entry.phase != "forward" or not isinstance(spec, _DECIDING):
        return 0.0
    y, *codes = entry.outputs
    act = specs.Activation() if isinstance(spec, specs.PoolForward) else spec.act
    share = _adopt_sides(act if act.traits.slope_from == "y" else specs.Activation(), y, machine, reference)
    x = entry.args[0]
    if act.traits.slope_from == "x" and x is not None and machine.plan.home(x) != machine.plan.home(y):
        share = max(share, _adopt_sides(act, x, machine, reference))
    for name in codes:
        assert isinstance(spec.y, Image)
        chosen = unpack_codes(spec.y, machine.bytes(name))
        share = max(share, float((chosen != reference.values[name]).mean()))
        reference.values[name] = chosen
    return share


def _adopt_sides(act: specs.Activation, name: str, machine: PlanMemory, reference: Interpreter) -> float:
    """Take over the values on another side of a gate, or of a jump of the slope that is seen from them: their share."""
    ours, theirs = np.asarray(machine.read(name), np.float64), reference.values[name]
    if act.traits.is_gate:
        flipped = (ours > 0) != (theirs > 0)
    else:
        flipped = np.abs(slope(act, ours) - slope(act, theirs)) > _JUMP
    reference.values[name] = np.where(flipped, ours, theirs)
    return float(flipped.mean())


def _pairs(entry: Entry, machine: PlanMemory, reference: Interpreter) -> Iterator[tuple[str, Array, Array]]:
    """(name, the machine's value, the reference's) of every output that has a logical value."""
    for name in entry.outputs:
        if name == next_name("params"):
            for parameter, value in machine.parameters().items():
                yield parameter, value, reference.parameters()[parameter]
        elif name == "loss":
            yield "losses", machine.losses()[0], reference.values["loss"][0]
        elif isinstance(table := machine.plan.tensor(name).layout, NormTable):
            for row in set(table.rows) - {"1/m", "present"}:
                yield f"{name} {row}", table.row(machine.flat(name), row), getattr(reference.values[name], row)
        elif machine.plan.tensor(name).layout is not None:
            got, expected = machine.read(name), _as_laid_out(machine, name, reference.values[name])
            if isinstance(got, tuple):
                names = ("weight", "bias") if len(got) == 2 else ("mean", "var", "count")
                for part, mine, other in zip(names, got, expected, strict=True):
                    if mine is not None:
                        yield f"{name} {part}", mine, other
            elif isinstance(entry.spec, specs.ConcatForward):  # other inputs' channels may hold anything yet
                yield name, entry.spec.range.of(got), entry.spec.range.of(expected)
            else:
                yield name, got, expected
