"""From generated CUDA source to a trainer: trainer.cu by nvcc, or by g++ for the emulation, and the runtime by NASM."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asmgen.errors import ToolError
from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.build import OBJECTS_FOLDER
from asmgen.toolchain.nasm import Source, assemble_all
from asmgen.toolchain.nvcc import compile_flags, library_dirs, nvcc_version, require_nvcc
from asmgen.toolchain.runtime import runtime_sources
from asmgen.toolchain.tools import find_program

CUDA_RUNTIME = RUNTIME_DIR / "cuda"
TRAINER = "trainer"
EMULATED_TRAINER = "trainer-emulated"

_GXX = ("-std=c++17", "-O2", "-DASMGEN_EMULATION", "-x", "c++", "-ffp-contract=off", "-fno-strict-aliasing")
# Not PIE: the runtime's tables hold addresses. Unused parts of the runtime go.
_LINK = ("-z,noexecstack", "--gc-sections", "--build-id=none", "--fatal-warnings")


def build_cuda_trainer(folder: Path, arches: tuple[str, ...]) -> Path:
    """`folder`/trainer for GPUs of `arches` and later ones. Raises ToolError."""
    nvcc = require_nvcc()
    compiled = _compile(folder, "trainer_nvcc.o", [str(nvcc), *compile_flags(arches)], nvcc_version() or "")
    link = [
        str(nvcc),
        "-cudart=static",
        "-Xcompiler=-no-pie,-static-libstdc++,-static-libgcc",
        *(f"-L{path}" for path in library_dirs(nvcc)),
    ]
    link += [f"-Xlinker={flag}" for flag in _LINK]
    return _link(link, [compiled, *_runtime(folder)], folder / TRAINER)


def build_emulated_trainer(folder: Path) -> Path:
    """`folder`/trainer-emulated, which runs the same source on one CPU thread. Raises ToolError."""
    gxx = find_program("g++")
    version = subprocess.run([gxx, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    compiled = _compile(folder, "trainer_gxx.o", [gxx, *_GXX], version)
    link = [gxx, "-no-pie", *(f"-Wl,{flag}" for flag in _LINK)]
    return _link(link, [compiled, *_runtime(folder)], folder / EMULATED_TRAINER)


def _runtime(folder: Path) -> list[Path]:
    objects = folder / OBJECTS_FOLDER
    facts = Source(folder / "trainer.asm", objects / "trainer.o", (RUNTIME_DIR, folder))
    return assemble_all([facts, *runtime_sources("cuda", objects)])


def _compile(folder: Path, name: str, command: Sequence[str], version: str) -> Path:
    """trainer.cu -> objects/`name`, unless that is already what the sources give."""
    objects = folder / OBJECTS_FOLDER
    objects.mkdir(parents=True, exist_ok=True)
    target = objects / name
    stamp = target.with_suffix(".stamp")
    key = _key(folder, [version, *command[1:]])
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return target
    stamp.unlink(missing_ok=True)
    folders = [f"-I{CUDA_RUNTIME}", f"-I{folder}"]
    _run([*command, *folders, "-c", str(folder / "trainer.cu"), "-o", str(target)], f"compile {folder / 'trainer.cu'}")
    stamp.write_text(key)
    return target


def _key(folder: Path, words: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    sources = [*sorted(folder.glob("*.cu")), *sorted(path for path in CUDA_RUNTIME.rglob("*.*") if path.is_file())]
    for path in sources:
        content = path.read_bytes()
        digest.update(f"\n{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _link(command: Sequence[str], objects: Sequence[Path], out: Path) -> Path:
    """Written beside and renamed, so that a trainer that runs meanwhile keeps its bytes."""
    beside = out.with_name(out.name + ".tmp")
    _run([*command, "-o", str(beside), *map(str, objects)], f"link {out}")
    os.replace(beside, out)
    return out


def _run(command: Sequence[str], doing: str) -> None:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        lines = [line for line in (said.stderr + said.stdout).splitlines() if "error" in line or "undefined" in line]
        lines = lines or (said.stderr + said.stdout).splitlines() or ["no message"]
        more = f" (and {len(lines) - 1} more)" if lines[1:] else ""
        raise ToolError(f"{Path(command[0]).name} cannot {doing}: {lines[0].strip()}{more}")
