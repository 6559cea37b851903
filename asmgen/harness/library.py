"""Listings become a shared library in this process: assembled, linked and kept by content in a cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from asmgen.asm.listing import Listing
from asmgen.errors import ToolError
from asmgen.toolchain.tools import find_program


def cache_dir() -> Path:
    """Where libraries are kept: in $XDG_CACHE_HOME or ~/.cache; where that is not writable, in a temporary folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "asmgen" / "harness"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="asmgen-"))


def build_library(texts: Sequence[str]) -> Path:
    """A shared library with the symbols of these NASM sources; the same sources give the same file without building."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
    target = _cache() / f"{digest}.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        objects = []
        for index, text in enumerate(texts):
            source = Path(folder) / f"{index}.asm"
            source.write_text(text)
            objects.append(source.with_suffix(".o"))
            _call("nasm", "-f", "elf64", "-w+error=all", str(source), "-o", str(objects[-1]))
        library = Path(folder) / "library.so"
        _call("ld", "-shared", "-z", "noexecstack", "-o", str(library), *map(str, objects))
        os.replace(library, target)
    return target


def load_kernel(listing: Listing) -> int:
    """The address of the kernel, assembled and loaded into this process."""
    return address(load_library([listing.text()]), listing.symbol)


def instruction_at(listing: Listing, offset: int) -> str:
    """The instruction `offset` bytes into the kernel and the label before it, as objdump prints them."""
    path = build_library([listing.text()])
    args = ["objdump", "-d", "-M", "intel", "--no-show-raw-insn", str(path)]
    text = subprocess.run(args, capture_output=True, text=True).stdout
    start, label = None, ""
    for line in text.splitlines():
        if (head := re.match(r"([0-9a-f]+) <(.+)>:", line)) is not None:
            label = head[2]
            start = int(head[1], 16) if label == listing.symbol else start
        body = re.match(r"\s*([0-9a-f]+):\s*(.*)", line)
        if start is not None and body is not None and int(body[1], 16) == start + offset:
            return f"`{body[2].strip()}` in {label}"
    return "outside the kernel"


def address(library: ctypes.CDLL, symbol: str) -> int:
    """Where a symbol of a loaded library lies."""
    value = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
    assert value is not None
    return value


@cache
def _cache() -> Path:
    return cache_dir()


@cache
def _load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


def load_library(texts: Sequence[str]) -> ctypes.CDLL:
    """Build and load."""
    return _load(build_library(texts))


def _call(program: str, *args: str) -> None:
    done = subprocess.run([find_program(program), *args], capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{program} failed: {(done.stderr or done.stdout).strip()}")
