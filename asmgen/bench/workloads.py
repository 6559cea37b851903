"""Who takes part in a comparison: our trainers and their peers, each as a `Workload`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from asmgen.asm.isa import Isa
from asmgen.bench.clock import CallList
from asmgen.bench.kernels import step_machine
from asmgen.bench.suite import Workload
from asmgen.bench.trainer import TrainerBench
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.emit.tuning import Tuning
from asmgen.model.network import Model
from asmgen.peers.naive import NaiveC, NaivePython, c_compiler, heaviest, step_macs
from asmgen.plan.build import build_plan

PEERS = ("torch", "numpy", "c", "python")
_PRODUCT_SECONDS = 0.05


@dataclass(frozen=True)
class Built:
    """The trainers of one level: of the model, and of the same model with batches of one sample (None: not wanted)."""

    isa: Isa
    tuning: Tuning
    trainer: Path
    single: Path | None


def measured_model(model: Model, dtype: str | None = None) -> Model:
    """The model as it is measured: random data needs no validation split; dtype: instead of the model's."""
    return replace(model, data=replace(model.data, validation=None), dtype=dtype or model.dtype)


def single(model: Model) -> Model:
    """The model with batches of one sample."""
    return replace(model, batch_size=1)


def trainer_workloads(model: Model, built: Built, works: list[str], stack: ExitStack) -> Iterator[Workload]:
    """Our rows, by the executables; `loops` calls the kernel from here. stack: closes what they need."""
    name = f"asmgen {built.isa.name}"
    bench = stack.enter_context(TrainerBench(model, built.trainer))
    if "step" in works:
        yield Workload("step", name, "asmgen", bench.seconds_per_step)
    if "inference" in works:
        yield Workload("inference", name, "asmgen", bench.seconds_per_test)
    if "latency" in works and built.single:
        alone = stack.enter_context(TrainerBench(single(model), built.single))
        yield Workload("latency", name, "asmgen", alone.seconds_per_test)
    if "loops" in works:
        yield _product(model, built.isa, built.tuning)


def _product(model: Model, isa: Isa, tuning: Tuning) -> Workload:
    """The kernel of the product that the loops are timed on, with all that is fused into it."""
    plan = plan_for(model, isa, tuning)
    machine = step_machine(model, plan, isa, emit_plan(plan, isa, tuning))
    entry, _ = heaviest(plan)
    for earlier in plan.entries[: plan.entries.index(entry)]:
        machine.execute(earlier)
    calls = CallList([machine.call_of(entry)], isa.name)

    def measure(_: int, at_least: float) -> float:
        assert machine is not None  # its memory is the arena that `calls` works on
        return calls.sample(min(at_least, _PRODUCT_SECONDS))

    return Workload("loops", f"asmgen {isa.name}", "asmgen", measure, one_thread_only=True)


def peer_workloads(model: Model, peers: list[str], works: list[str]) -> Iterator[Workload]:
    """The rows of `peers`. A C compiler that is missing leaves its row out."""
    if "torch" in peers:
        yield from _torch(model, works)
    if "numpy" in peers:
        yield from _numpy(model, works)
    if "c" in peers and c_compiler():
        yield from _loops(model, "C", works)
    if "python" in peers:
        yield from _loops(model, "Python", works)


def _torch(model: Model, works: list[str]) -> Iterator[Workload]:
    from asmgen.bench.torch_step import TorchStep, variants

    for variant in variants(model):
        kind = "bf16" if variant == "bf16" else "exact"
        step = TorchStep(model, variant)
        if "step" in works:
            yield Workload("step", f"torch {variant}", kind, step.seconds_per_step)
        if "inference" in works:
            yield Workload("inference", f"torch {variant}", kind, step.seconds_per_test)
        if "latency" in works:
            yield Workload("latency", f"torch {variant}", kind, TorchStep(single(model), variant).seconds_per_test)


def _numpy(model: Model, works: list[str]) -> Iterator[Workload]:
    from asmgen.bench.numpy_step import NumpyStep

    step = NumpyStep(model)
    if "step" in works:
        yield Workload("step", "numpy", "exact", step.seconds_per_step)
    if "inference" in works:
        yield Workload("inference", "numpy", "exact", step.seconds_per_test)
    if "latency" in works:
        yield Workload("latency", "numpy", "exact", NumpyStep(single(model)).seconds_per_test)


def _loops(model: Model, language: str, works: list[str]) -> Iterator[Workload]:
    """Plain loops, timed on a part of the heaviest product and scaled by multiply-adds."""
    plan = build_plan(model, 4)
    _, work = heaviest(plan)
    loops = NaiveC(replace(work, n=1), model.dtype) if language == "C" else NaivePython(work, model.dtype)
    macs = {"step": step_macs(plan, "forward", "backward"), "loops": work.macs}
    for name in macs.keys() & set(works):
        yield Workload(
            name,
            f"plain {language}, estimated",
            "loops",
            lambda _threads, _seconds, count=macs[name]: loops.seconds_per_mac() * count,  # type: ignore[misc]
            one_thread_only=True,
        )
