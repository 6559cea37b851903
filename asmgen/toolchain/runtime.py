"""Which files of runtime/ a trainer is made of."""

from __future__ import annotations

from pathlib import Path

from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.nasm import Source


def runtime_sources(machine: str, objects: Path) -> list[Source]:
    """What every trainer shares, then what knows the machine that computes: "cpu" or "cuda"."""
    files = [*sorted(RUNTIME_DIR.glob("*.asm")), *sorted((RUNTIME_DIR / machine).glob("*.asm"))]
    return [Source(asm, objects / f"runtime_{asm.stem}.o", (RUNTIME_DIR,)) for asm in files]
