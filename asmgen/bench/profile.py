"""Where a real training run spends its time: the trainer itself, with a time stamp before and after every kernel call."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from asmgen.bench.clock import ticks_per_second
from asmgen.emit.generate import Generated
from asmgen.errors import ToolError
from asmgen.paths import RUNTIME_DIR
from asmgen.plan.plan import Entry, Plan
from asmgen.toolchain.build import OBJECTS_FOLDER, TRAINER_SOURCE
from asmgen.toolchain.link import link_trainer
from asmgen.toolchain.nasm import assemble

PHASES = ("forward", "backward", "update", "derive")  # the order of trainer.asm
_STAMPS = 3  # profile.inc: before the call, after it, after the barrier
_WARM_STEPS = 2


@dataclass(frozen=True)
class Spent:
    """One call of the step. seconds: of the first thread's share; waiting: for the other threads; medians over steps."""

    layer: str
    phase: str
    op: str
    kernel: str
    seconds: float
    waiting: float


@dataclass(frozen=True)
class Profile:
    """The calls in execution order. step: seconds from step to step; between: what of it no call accounts for."""

    calls: tuple[Spent, ...]
    n_steps: int
    step: float
    between: float


def link_profiled(generated: Generated, folder: Path) -> Path:
    """The built trainer again, with trainer.asm assembled for time stamps; everything else is what the trainer has."""
    source = next(path for path in generated.sources if path.name == TRAINER_SOURCE)
    stamped = folder / "trainer.o"
    assemble(source, stamped, (RUNTIME_DIR, generated.folder, Path(__file__).parent), ("-DPROFILE",))
    objects = sorted((generated.folder / OBJECTS_FOLDER).glob("*.o"))
    trainer = folder / "trainer"
    link_trainer([stamped, *(path for path in objects if path.name != stamped.name)], trainer)
    return trainer


def run_profiled(trainer: Path, flags: Sequence[str], plan: Plan, isa_name: str) -> Profile:
    """Train with these flags of the trainer. Raises ToolError with what it says where it fails."""
    with tempfile.TemporaryFile() as stamps:
        done = subprocess.run([str(trainer), *flags], stdout=subprocess.DEVNULL, stderr=stamps)
        stamps.seek(0)
        content = stamps.read()
    if done.returncode:
        raise ToolError(f"the profiled trainer failed: {content.rpartition(b'trainer: ')[2].decode(errors='replace').strip()}")
    return summarize(np.frombuffer(content, np.uint64), plan, isa_name)


def summarize(stamps: np.ndarray[tuple[int], np.dtype[np.uint64]], plan: Plan, isa_name: str) -> Profile:
    """Medians over the steps of what profile.inc wrote; the first steps, which touch new memory, do not count.

    Raises ToolError where the table does not fit the plan, or the run was too short.
    """
    entries = [entry for phase in PHASES for entry in plan.phase(phase)]
    table, rest = divmod(stamps.size, len(entries) * _STAMPS)
    if rest:
        raise ToolError(f"{stamps.size} time stamps are not {_STAMPS} for each of {len(entries)} calls of a step")
    # The first table is that of the parameters' first derivation, before any step.
    if table < 1 + _WARM_STEPS + 2:
        raise ToolError(f"a profile needs at least {_WARM_STEPS + 2} training steps, not {max(0, table - 1)}")
    steps = stamps.reshape(table, len(entries), _STAMPS)[1 + _WARM_STEPS :].astype(np.int64) / ticks_per_second()
    ran = np.median(steps[:, :, 1] - steps[:, :, 0], 0)
    waited = np.median(steps[:, :, 2] - steps[:, :, 1], 0)
    calls = tuple(_spent(entry, isa_name, *times) for entry, *times in zip(entries, ran, waited, strict=True))
    first, last = steps[:, 0, 0], steps[:, -1, 2]
    step = median(np.append(np.diff(first), last - first)) 
    return Profile(calls, len(steps), float(step), float(step - ran.sum() - waited.sum()))


def _spent(entry: Entry, isa_name: str, seconds: float, waiting: float) -> Spent:
    return Spent(entry.layer, entry.phase, entry.text, entry.spec.symbol(isa_name), float(seconds), float(waiting))
