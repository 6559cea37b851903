"""Where a real training run spends its time: the trainer itself, with time stamps around every kernel call."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asmgen.bench.clock import ticks_per_second
from asmgen.emit.generate import Generated
from asmgen.errors import ToolError
from asmgen.paths import RUNTIME_DIR
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.schedule import PHASES
from asmgen.toolchain.build import OBJECTS_FOLDER, TRAINER_SOURCE
from asmgen.toolchain.link import link_trainer
from asmgen.toolchain.nasm import assemble

_WORD_BYTES = 8  # of profile.inc's table: its begin and end, then two words a call
_WARM_STEPS = 2


@dataclass(frozen=True)
class Spent:
    """One call of the step, medians over steps. seconds: of the first thread's share; waiting: for the others."""

    layer: str
    phase: str
    op: str
    kernel: str
    seconds: float
    waiting: float


@dataclass(frozen=True)
class Profile:
    """The calls in execution order. between: seconds of a step between them, where the runtime works."""

    calls: tuple[Spent, ...]
    n_steps: int
    between: float

    @property
    def step(self) -> float:
        """Seconds."""
        return self.between + sum(call.seconds + call.waiting for call in self.calls)

    def layers(self) -> dict[str, dict[str, float]]:
        """layer -> phase -> seconds, waiting included."""
        found: dict[str, dict[str, float]] = {}
        for call in self.calls:
            phases = found.setdefault(call.layer, {})
            phases[call.phase] = phases.get(call.phase, 0.0) + call.seconds + call.waiting
        return found


def link_profiled(generated: Generated, folder: Path) -> Path:
    """The built trainer again, with trainer.asm assembled for time stamps; everything else is what the trainer has."""
    source = next(path for path in generated.sources if path.name == TRAINER_SOURCE)
    stamped = folder / "trainer.o"
    assemble(source, stamped, (RUNTIME_DIR, generated.folder, Path(__file__).parent), ("-DPROFILE",))
    objects = sorted((generated.folder / OBJECTS_FOLDER).glob("*.o"))
    trainer = folder / "trainer"
    link_trainer([stamped, *(path for path in objects if path.name != stamped.name)], trainer)
    return trainer


def run_profiled(trainer: Path, flags: Sequence[str], plan: Plan, isa_name: str, n_steps: int) -> Profile:
    """Train with these flags of the trainer until `n_steps` steps are measured, then end it.

    Raises ToolError with what it says where it fails, or where it ends before.
    """
    table_bytes = _WORD_BYTES * 2 * (1 + len(plan.entries))
    wanted = (1 + _WARM_STEPS + n_steps) * table_bytes
    with subprocess.Popen([str(trainer), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        content = process.stderr.read(wanted)
        process.terminate()
        process.stderr.read()
    if len(content) < wanted:
        said = content.rpartition(b"trainer: ")[2].decode(errors="replace").strip() if process.returncode > 0 else ""
        steps = max(0, len(content) // table_bytes - 1)
        raise ToolError(f"the profiled trainer ended after {steps} steps: {said or f'exit code {process.returncode}'}")
    return summarize(np.frombuffer(content, np.uint64), plan, isa_name)


def summarize(stamps: np.ndarray[Any, np.dtype[np.uint64]], plan: Plan, isa_name: str) -> Profile:
    """Medians over the steps of what profile.inc wrote: begin and end of a step, then what each call ran and waited.

    The first table is that of the parameters' first derivation; the first steps, which touch new memory, do not count.
    """
    entries = [entry for phase in PHASES for entry in plan.phase(phase)]
    tables = stamps.reshape(-1, 1 + len(entries), 2)[1 + _WARM_STEPS :].astype(np.int64)
    (began, ended), calls_of_steps = tables[:, 0].T, tables[:, 1:]
    ran, waited = np.median(calls_of_steps, 0).T / ticks_per_second()
    inside = np.median(ended - began - calls_of_steps.sum((1, 2)))
    outside = np.median(began[1:] - ended[:-1]) if len(tables) > 1 else 0
    calls = tuple(_spent(entry, isa_name, *times) for entry, *times in zip(entries, ran, waited, strict=True))
    return Profile(calls, len(tables), float(inside + outside) / ticks_per_second())


def _spent(entry: Entry, isa_name: str, seconds: float, waiting: float) -> Spent:
    return Spent(entry.layer, entry.phase, entry.text, entry.spec.symbol(isa_name), float(seconds), float(waiting))
