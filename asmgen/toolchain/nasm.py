"""Assembles NASM sources to ELF objects, in parallel, and only those whose text (or whose includes) changed.

An object depends only on the bytes of its sources, although it has line information (DWARF): NASM sees copies of them
in a folder of their own, so that the names it records have no folders, and the one folder it does record is taken out.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asmgen.errors import ToolError
from asmgen.toolchain.tools import TOOLS, find_program

# A step names its kernels `extern` at every call: once more is not a warning. NASM 2.16.03 warns of what refers to
# another section; older ones do not know those warnings' names.
_CROSSING = ("rel-dword", "abs-dword", "abs-qword")
_SILENT = ("-w-label-redef", "-w-unknown-warning", *(f"-w-reloc-{kind}" for kind in _CROSSING))
FLAGS = ("-f", "elf64", "-g", "-F", "dwarf", "-w+all", "-Werror", *_SILENT)
_FOLDER_BYTES = 128  # of the folder that NASM records; always the same, so that the objects are
_HERE = b"./"
_INCLUDE = re.compile(rb'^\s*(?:[\w.]+:\s*)?(?:%include|incbin)\s+"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """One file to assemble, and the folders that its %include and incbin lines may name files of."""

    asm: Path
    object: Path
    include_dirs: tuple[Path, ...] = ()


def assemble(asm: Path, obj: Path, include_dirs: Sequence[Path] = (), flags: Sequence[str] = ()) -> None:
    """`asm` -> `obj`, unless `obj` is already what this text gives.

    Raises ToolError with NASM's own words, for its warnings too: a number cut to fit is a wrong trainer.
    """
    source = Source(asm, obj, tuple(include_dirs))
    stamp = obj.with_suffix(".stamp")
    key = _key(source, flags)
    if obj.exists() and stamp.exists() and stamp.read_text() == _stamp(key, obj.read_bytes()):
        return
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="asmgen-") as scratch:
        folder = _long_folder(Path(scratch).resolve())
        for name, path in _inputs(source.asm, source.include_dirs):
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        command = [find_program("nasm"), *FLAGS, *flags, "-o", "object", asm.name]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise ToolError(f"nasm cannot assemble {asm}: {_trimmed(said.stderr)}")
        recorded = os.fsencode(folder) + b"/"
        content = (folder / "object").read_bytes().replace(recorded, _HERE * (len(recorded) // len(_HERE)))
        obj.write_bytes(content)
    stamp.write_text(_stamp(key, content))


def assemble_all(sources: Sequence[Source]) -> list[Path]:
    """The objects of `sources`, in their order, assembled on all cores. Raises the first ToolError."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda source: assemble(source.asm, source.object, source.include_dirs), sources))
    return [source.object for source in sources]


@functools.cache
def _version() -> str | None:
    return next(tool for tool in TOOLS if tool.name == "nasm").find()


def _long_folder(scratch: Path) -> Path:
    """A folder in `scratch` whose path has _FOLDER_BYTES bytes with its last slash. Raises ToolError."""
    room = _FOLDER_BYTES - len(os.fsencode(scratch)) - len("//")
    if room < 1:
        raise ToolError(f"the path of the temporary folder {scratch} is too long; set TMPDIR to a shorter one")
    folder = scratch / ("-" * room)
    folder.mkdir()
    return folder


def _key(source: Source, flags: Sequence[str]) -> str:
    """A digest of the assembler, its flags and every byte that goes in."""
    digest = hashlib.sha256(f"{_version()} {FLAGS} {list(flags)}".encode())
    for name, path in _inputs(source.asm, source.include_dirs):
        content = path.read_bytes()
        digest.update(f"\n{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _stamp(key: str, content: bytes) -> str:
    """What is kept beside an object: what it was made of, and what was made."""
    return f"{key}\n{hashlib.sha256(content).hexdigest()}\n"


def _inputs(asm: Path, include_dirs: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """The file and what it includes, each once, by the name it is included by. What is missing is NASM's to report."""
    seen: set[str] = set()
    todo = [(asm.name, asm)]
    while todo:
        name, path = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name, path
        if path.suffix not in (".asm", ".inc"):
            continue
        for name in map(os.fsdecode, _INCLUDE.findall(path.read_bytes())):
            candidates = [folder / name for folder in (asm.parent, *include_dirs)]
            todo += [(name, candidate) for candidate in candidates if candidate.is_file()][:1]


def _trimmed(stderr: str) -> str:
    """The first error line; with several, how many."""
    errors = [line for line in stderr.splitlines() if "error:" in line or "fatal:" in line] or stderr.splitlines()
    first = errors[0].strip() if errors else "no message"
    return first if len(errors) <= 1 else f"{first} (and {len(errors) - 1} more)"
