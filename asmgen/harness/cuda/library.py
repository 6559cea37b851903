"""CUDA listings become a shared library in this process: compiled by g++ against runtime/cuda/emulation.hpp.

Libraries are kept by content. One compiler runs at a time on the machine, whatever the number of test processes.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from asmgen.cuda.listing import CudaListing
from asmgen.errors import ToolError
from asmgen.harness.library import cache_dir
from asmgen.harness.loaded import Loaded
from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.cpu import cpu_features

CUDA_RUNTIME = RUNTIME_DIR / "cuda"

_loaded = Loaded(limit=8)

_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
_AS_NVCC = ("-ffp-contract=off", "-fno-strict-aliasing")  # no fused product but fma, no aliasing by type
_STRICT = (  # what was never written is no zero; what C++ leaves undefined ends the kernel
    "-ftrivial-auto-var-init=pattern",
    "-fsanitize=alignment,bounds-strict,signed-integer-overflow,shift",
    "-fsanitize-undefined-trap-on-error",
)
_LIBRARY = ("-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-fno-exceptions", "-fno-rtti")
_FLAGS = ("-std=c++17", "-O2", "-g1", "-U_FORTIFY_SOURCE", *_LIBRARY, *_WARNINGS, *_AS_NVCC, *_STRICT)


def entry(kernel: str) -> str:
    """The exported function that runs a kernel: (launch, arguments) -> message or null."""
    return f"run_{kernel}"


def source(listings: Sequence[CudaListing]) -> str:
    """One translation unit with all kernels and their entries."""
    entries = [
        f'extern "C" __attribute__((visibility("default"))) const char* {entry(launch.kernel)}(\n'
        "    emulation::Launch& launch, void* const* arguments)\n"
        f"{{\n    return emulation::run(launch, {launch.kernel}, arguments);\n}}\n"
        for listing in listings
        for launch in listing.launches
    ]
    texts = [listing.text for listing in listings]
    return "\n".join(["#define ASMGEN_EMULATION", *texts, '#include "emulation/run.hpp"', *entries])


def load_library(listings: Sequence[CudaListing]) -> tuple[ctypes.CDLL, Path]:
    """Compile (or find) and load. Raises ToolError with the compiler's first error."""
    path = _build(source(listings))
    return _loaded.load(path), path


def source_line(path: Path, offset: int) -> str:
    """`kernel.cu:12` of an instruction, where addr2line can tell; the line is that of the translation unit."""
    try:
        said = subprocess.run(["addr2line", "-e", path, hex(offset)], capture_output=True, text=True).stdout
    except OSError:
        return ""
    return Path(said.strip().partition(" ")[0]).name


def _build(text: str) -> Path:
    features = cpu_features()
    wide = ("-mavx2", "-mfma") if {"avx2", "fma"} <= features else ()
    command = ["g++", *_FLAGS, *wide, f"-I{CUDA_RUNTIME}"]
    digest = hashlib.sha256("\0".join([text, *command, *_runtime_texts()]).encode()).hexdigest()[:24]
    folder = _cache()
    target, kept = folder / f"{digest}.so", folder / f"{digest}.cu"
    if target.exists():
        return target
    with (folder / "compiler.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder) as name:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        kept.write_text(text)
        library = Path(name) / target.name
        args = [*command, "-x", "c++", str(kept), "-o", str(library)]
        said = subprocess.run(args, capture_output=True, text=True)
        if said.returncode:
            errors = [line for line in said.stderr.splitlines() if "error" in line] or said.stderr.splitlines()[:1]
            raise ToolError(f"g++ refuses the emulation of {kept}: {errors[0] if errors else 'no message'}")
        os.replace(library, target)
    return target


def _runtime_texts() -> list[str]:
    return [path.read_text() for path in sorted(CUDA_RUNTIME.rglob("*.[ch]*")) if path.is_file()]


@cache
def _cache() -> Path:
    return cache_dir()
