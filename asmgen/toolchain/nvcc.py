"""Finds NVIDIA's compiler, and what it is told: which GPUs, which folders."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from asmgen.errors import ToolError, UsageError

DEFAULT_ARCHES = ("sm_80", "sm_90")
LEAST_ARCH = 80  # cp.async and TF32 products

INSTALL = (
    "install NVIDIA's CUDA toolkit (https://developer.nvidia.com/cuda-downloads; found on PATH, in $CUDA_HOME or "
    "/usr/local/cuda), or its PyPI packages (.venv/bin/pip install -e '.[cuda]')"
)

# As the emulation computes: a product and a sum are fused where the text says so, and nowhere else.
_FLAGS = ("-std=c++17", "-O3", "-fmad=false")


def parse_arches(text: str) -> tuple[str, ...]:
    """ "sm_80,sm_90" -> its names. Raises UsageError."""
    arches = tuple(name.strip() for name in text.split(","))
    for arch in arches:
        found = re.fullmatch(r"sm_(\d+)[af]?", arch)
        if not found:
            raise UsageError(f"--arch {text}: {arch!r} is not like sm_90; give a list such as sm_80,sm_90")
        if int(found[1]) < LEAST_ARCH:
            raise UsageError(f"--arch {text}: {arch} is too old; the kernels need sm_{LEAST_ARCH} or later")
    return tuple(dict.fromkeys(arches))


def arch_flags(arches: tuple[str, ...]) -> list[str]:
    """Machine code for each, and PTX of the latest that later GPUs can compile."""
    flags = [f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in arches]
    portable = [arch for arch in arches if arch[-1].isdigit()]
    if portable:
        latest = max(portable, key=lambda arch: int(arch.removeprefix("sm_"))).replace("sm", "compute")
        flags.append(f"-gencode=arch={latest},code={latest}")
    return flags


def compile_flags(arches: tuple[str, ...]) -> list[str]:
    """All but names of files and folders."""
    return [*_FLAGS, *arch_flags(arches), "-t0"]


def find_nvcc() -> Path | None:
    """The compiler, or None."""
    return next((path for path in _candidates() if path.is_file() and os.access(path, os.X_OK)), None)


def require_nvcc() -> Path:
    """The compiler. Raises ToolError with the two ways to get it."""
    path = find_nvcc()
    if path is None:
        raise ToolError(f"nvcc is missing: CUDA source cannot be compiled (--emit-only writes it); {INSTALL}")
    return path


def nvcc_version() -> str | None:
    """Such as 13.0; None where there is no compiler, or it does not run."""
    path = find_nvcc()
    if path is None:
        return None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"release (\d+\.\d+)", said)
    return found[1] if found else "unknown version"


def library_dirs(nvcc: Path) -> list[Path]:
    """Folders with cudart that nvcc does not look in by itself: those of the PyPI packages."""
    folder = nvcc.resolve().parent.parent / "lib"
    return [folder] if (folder / "libcudart_static.a").exists() else []


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("nvcc")
    if on_path:  # nvcc looks for its headers beside the name it was called by; a link may lead to a wrapper's name
        real = Path(on_path).resolve()
        yield real if real.name == "nvcc" else Path(on_path)
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "bin" / "nvcc"
    yield Path("/usr/local/cuda/bin/nvcc")
    for packages in dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages(), site.getusersitepackages()]):
        yield from sorted(Path(packages).glob("nvidia/cu*/bin/nvcc"), reverse=True)
