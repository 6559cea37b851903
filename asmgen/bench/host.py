"""What a table of measurements must say of the machine and the programs: no names, paths or dates."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from asmgen.peers.naive import C_FLAGS, c_compiler
from asmgen.toolchain.cpu import affinity_cores, cpu_features, cpu_model, quota_cores
from asmgen.toolchain.tools import TOOLS
from asmgen.version import __version__

_TELLING_FEATURES = ("sse4_1", "avx2", "fma", "avx512f", "avx512bw", "amx_bf16")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def machine() -> dict[str, Any]:
    """CPU, cores of this process, caches of a core, and the features that decide what runs."""
    facts: dict[str, Any] = {"cpu": cpu_model(), "cores": affinity_cores()}
    if (quota := quota_cores()) is not None:
        facts["cpu_quota"] = quota
    present = cpu_features()
    return facts | {"caches": _caches(), "features": [name for name in _TELLING_FEATURES if name in present]}


def versions() -> dict[str, str]:
    """Of everything that was measured or made what was measured."""
    found = {"asmgen": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found |= {tool.name: version for tool in TOOLS if tool.name in ("nasm", "ld") and (version := tool.find())}
    if compiler := c_compiler():
        said = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
        found[Path(compiler).name] = f"{said} {' '.join(C_FLAGS)}"
    return found


def _caches() -> dict[str, str]:
    """`L1d` -> `48K`; empty where the system does not say."""
    sizes = {}
    for folder in sorted(_CACHES.glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        sizes[f"L{level}{'d' if kind == 'Data' else 'i' if kind == 'Instruction' else ''}"] = size
    return sizes
