"""Times the kernels that the cost model finds best, in turn, and keeps what beats its first choice.

First the algorithm of every 3 x 3 convolution, direct or Winograd's with the transform of its weights; then, with those
chosen, the tiles of every kernel at its place in a step of random images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from asmgen.asm.isa import Isa
from asmgen.bench.clock import Call, CallList, core_hertz
from asmgen.bench.compare import Timing, interleave
from asmgen.bench.kernels import StepMachine, step_machine
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for, winograd_sizes
from asmgen.emit.tuning import ALGORITHMS, Choice, Tuning, algorithm_key, algorithm_of
from asmgen.harness.library import load_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.model.network import Model
from asmgen.plan.build import build_plan
from asmgen.plan.plan import Entry
from asmgen.plan.policy import Policy
from asmgen.plan.specs import Conv, KernelSpec, WinogradWeights
from asmgen.tile.candidates import candidates
from asmgen.tile.winograd.conv2d_winograd import algorithms

LEAST_GAIN = 1.02  # of the winner, in the median of a second contest; less may be noise
_SAMPLE_SECONDS = 0.005

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """A choice with its predicted and measured cycles (medians)."""

    choice: str
    predicted: float
    cycles: float


@dataclass(frozen=True)
class TuneRow:
    """A kernel, or the direction of a convolution, and what was tried for it, the cost model's choice first.

    winner: index of the fastest; 0 where nothing beats the cost model's choice by more than the noise. gain: how many
    times faster than that choice it is.
    """

    kind: str  # "algorithms" | "tiles"
    name: str
    tried: tuple[Measured, ...]
    winner: int
    gain: float

    @property
    def best(self) -> Measured:
        return self.tried[self.winner]


def tune(model: Model, isa: Isa, top: int, rounds: int, progress: Progress) -> Iterator[TuneRow]:
    """A row for every choice, as it is made; `top` tiles of each kernel compete."""
    hertz = core_hertz(isa)
    chosen: dict[str, Choice] = {}
    for row in _tune_algorithms(model, isa, rounds, hertz, progress):
        if row.winner:
            chosen[row.name] = Choice(row.best.choice, row.gain)
        yield row
    yield from _tune_tiles(model, isa, Tuning("this run", "", chosen), top, rounds, hertz, progress)


def choices(rows: Sequence[TuneRow], cpu: str) -> Tuning:
    """What is worth keeping, as a Tuning."""

    def kept(kind: str) -> dict[str, Choice]:
        return {row.name: Choice(row.best.choice, row.gain) for row in rows if row.kind == kind and row.winner}

    return Tuning("", cpu, kept("algorithms"), kept("tiles"))


def _tune_algorithms(model: Model, isa: Isa, rounds: int, hertz: float, progress: Progress) -> Iterator[TuneRow]:
    convs: dict[str, tuple[Conv, bool]] = {}

    def note(conv: Conv, backward: bool) -> None:
        convs[algorithm_key(conv, backward=backward)] = conv, backward

    build_plan(model, isa.lanes(model.dtype), Policy(note))
    legal = {
        key: algorithms(conv, isa, winograd_sizes(model), backward=backward) for key, (conv, backward) in convs.items()
    }
    legal = {key: found for key, found in legal.items() if len(found) > 1}
    if not legal:
        return
    machines: dict[str, StepMachine] = {}
    for text in ALGORITHMS.values():
        progress(f"a step with every convolution {text}, where it can be")
        wanted = {
            key: Choice(text, 1.0) for key, found in legal.items() if text in (ALGORITHMS[each.tile] for each in found)
        }
        machines[text] = _machine(model, isa, Tuning("this run", "", wanted))
        machines[text].run("forward", "backward")
    for key, found in legal.items():
        calls = {ALGORITHMS[each.tile]: _algorithm_calls(machines[ALGORITHMS[each.tile]], key) for each in found}
        distinct = {text: call for text, call in calls.items() if text == "direct" or len(call) > 1}
        predicted = {ALGORITHMS[each.tile]: each.cycles for each in found if ALGORITHMS[each.tile] in distinct}
        if len(distinct) > 1:
            progress(f"{key}: {', '.join(distinct)}")
            lists = [CallList(call, isa.name) for call in distinct.values()]
            yield _row("algorithms", key, list(predicted.items()), lists, rounds, hertz)


def _algorithm_calls(machine: StepMachine, key: str) -> list[Call]:
    """The kernel of a convolution's direction, and the transform of its weights, if it has one."""
    entry = next(entry for entry in machine.plan.entries if algorithm_of(entry.spec) == key)
    plan = machine.plan
    derived = (each for each in plan.entries if isinstance(each.spec, WinogradWeights))
    transforms = (each for each in derived if plan.home(each.outputs[0]) in entry.args)
    return [machine.call_of(each) for each in (entry, *transforms)]


def _machine(model: Model, isa: Isa, tuning: Tuning) -> StepMachine:
    plan = plan_for(model, isa, tuning)
    return step_machine(model, plan, isa, emit_plan(plan, isa))


def _tune_tiles(
    model: Model, isa: Isa, tuning: Tuning, top: int, rounds: int, hertz: float, progress: Progress
) -> Iterator[TuneRow]:
    machine = _machine(model, isa, tuning)
    seen: set[KernelSpec] = set()
    for entry in machine.plan.entries:
        if entry.spec not in seen:
            seen.add(entry.spec)
            best = candidates(entry.spec, isa)[:top]
            if len(best) > 1:
                progress(f"kernel {len(seen)}/{len(machine.plan.specs())}: {len(best)} tiles of {entry.spec.stem()}")
                lists = [CallList([machine.call_of(entry, _load(entry, isa, each.tile))], isa.name) for each in best]
                predicted = [(str(each.tile), each.cycles) for each in best]
                with machine.unchanged(entry):
                    row = _row("tiles", entry.spec.stem(), predicted, lists, rounds, hertz)
                yield row
        machine.execute(entry)


def _load(entry: Entry, isa: Isa, tile: object) -> int:
    return load_kernel(emit_kernel(entry.spec, isa, tile))


def _row(
    kind: str, name: str, predicted: Sequence[tuple[str, float]], lists: Sequence[CallList], rounds: int, hertz: float
) -> TuneRow:
    """Times all in turn, then the first and the fastest once more: the fastest of many looks faster than it is."""
    timings = _contest(range(len(lists)), lists, rounds)
    best = min(timings, key=lambda index: timings[index].median)
    gain = 1.0
    if best:
        timings |= (again := _contest((0, best), lists, 2 * rounds))
        gain = _gain(again[0], again[best])
    tried = (Measured(*each, timings[index].median * hertz) for index, each in enumerate(predicted))
    return TuneRow(kind, name, tuple(tried), best if gain > 1 else 0, gain)


def _contest(indices: Sequence[int], lists: Sequence[CallList], rounds: int) -> dict[int, Timing]:
    named = {str(index): (lambda calls=lists[index]: calls.sample(_SAMPLE_SECONDS)) for index in indices}
    return {int(name): timing for name, timing in interleave(named, rounds).items()}


def _gain(first: Timing, other: Timing) -> float:
    """How many times faster `other` is; 1 where that is within the noise: three rounds in four must agree."""
    ratios = [mine / theirs for mine, theirs in zip(first.seconds, other.seconds, strict=True)]
    lower = quantiles(ratios, n=4)[0]
    return median(ratios) if median(ratios) >= LEAST_GAIN and lower > 1 else 1.0
