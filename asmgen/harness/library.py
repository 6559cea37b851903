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
from asmgen.harness.loaded import Loaded
from asmgen.toolchain.link import link_shared
from asmgen.toolchain.nasm import Source, assemble_all

_loaded = Loaded(limit=1000)


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
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        sources = [Source(folder / f"{index}.asm", folder / f"{index}.o") for index in range(len(texts))]
        for source, text in zip(sources, texts, strict=True):
            source.asm.write_text(text)
        library = folder / target.name
        link_shared(assemble_all(sources), library)
        os.replace(library, target)
    return target


def load_kernel(listing: Listing) -> int:
    """The address of the kernel, assembled and loaded into this process: until many others are (see Loaded)."""
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
    value = ctypes.cast(library[symbol], ctypes.c_void_p).value
    assert value is not None
    return value


@cache
def _cache() -> Path:
    return cache_dir()


def load_library(texts: Sequence[str]) -> ctypes.CDLL:
    """Build and load."""
    return _loaded.load(build_library(texts))
