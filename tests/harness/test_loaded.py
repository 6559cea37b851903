"""Libraries of kernels leave the process again."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from asmgen.harness.library import build_library
from asmgen.harness.loaded import Loaded


def _library(value: int) -> Path:
    """One whose `value` returns this number."""
    return build_library([f"bits 64\nglobal value:function\nsection .text\nvalue: mov eax, {value}\nret\n"])


def _is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_libraries_that_nobody_holds_are_unloaded() -> None:
    """Those used last stay, and those that somebody holds."""
    loaded, paths = Loaded(limit=2), [_library(90_000 + number) for number in range(5)]
    held: ctypes.CDLL = loaded.load(paths[0])
    for number, path in enumerate(paths):
        assert loaded.load(path)["value"]() == 90_000 + number
    gc.collect()
    assert [_is_mapped(path) for path in paths] == [True, False, False, True, True]
    assert loaded.load(paths[0]) is held
    assert held["value"]() == 90_000
    assert loaded.load(paths[1])["value"]() == 90_001
