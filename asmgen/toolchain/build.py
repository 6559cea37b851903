"""From generated sources to `trainer` and `kernels.so`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.link import link_shared, link_trainer
from asmgen.toolchain.nasm import Source, assemble_all
from asmgen.toolchain.runtime import runtime_sources

OBJECTS_FOLDER = "objects"
TRAINER_SOURCE = "trainer.asm"


def build_trainer(folder: Path, sources: Sequence[Path]) -> Path:
    """Assembles `sources` (kernels and trainer.asm) and the runtime; links `folder`/trainer and `folder`/kernels.so.

    Returns the trainer. Raises ToolError.
    """
    objects = folder / OBJECTS_FOLDER
    objects.mkdir(parents=True, exist_ok=True)
    jobs = [Source(asm, objects / f"{asm.stem}.o", (RUNTIME_DIR, folder)) for asm in sources]
    jobs += runtime_sources("cpu", objects)
    wanted = {job.object.stem for job in jobs}
    for stale in objects.iterdir():
        if stale.stem not in wanted:
            stale.unlink()
    built = assemble_all(jobs)
    kernels = [job.object for job in jobs[: len(sources)] if job.asm.name != TRAINER_SOURCE]
    trainer = folder / "trainer"
    link_trainer(built, trainer)
    link_shared(kernels, folder / "kernels.so")
    return trainer
