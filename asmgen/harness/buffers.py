"""Memory that notices a stray access: a tensor between pages that must not be touched."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from asmgen.plan.layout import round_up

Array = np.ndarray[Any, Any]

PAGE = mmap.PAGESIZE
_PROT_NONE = 0
_GUARD_BYTE = 0xA5  # fills what lies between the tensor and the guard pages

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class GuardedBuffer:
    """A copy of `contents` between two inaccessible pages, aligned to `align` bytes.

    flush "end": the tensor ends at the rear page (but for the bytes that the alignment leaves over); "start": it
    begins right behind the front page. The bytes left over hold a pattern; `stray_writes` says if that changed.
    """

    def __init__(self, contents: Array, align: int = 64, flush: str = "end") -> None:
        contents = np.ascontiguousarray(contents)
        self.size = contents.nbytes
        inner = max(PAGE, round_up(self.size, PAGE))
        self._map = mmap.mmap(-1, inner + 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._bytes = np.frombuffer(self._map, np.uint8)
        for page in (self._base, self._base + PAGE + inner):
            if _libc.mprotect(page, PAGE, _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect of a guard page")
        self._inner = slice(PAGE, PAGE + inner)
        offset = inner - round_up(self.size, align) if flush == "end" else 0
        self._first = PAGE + offset
        self.address = self._base + self._first
        self._bytes[PAGE : self._first] = _GUARD_BYTE
        self._bytes[self._first + self.size : self._inner.stop] = _GUARD_BYTE
        self.bytes[:] = contents.reshape(-1).view(np.uint8)

    @property
    def bytes(self) -> Array:
        """The tensor's bytes."""
        return self._bytes[self._first : self._first + self.size]

    def read(self, dtype: Any) -> Array:
        """A copy of the tensor's elements."""
        return self.bytes.copy().view(dtype)

    def stray_writes(self) -> str | None:
        """What was written outside, or None."""
        before = np.flatnonzero(self._bytes[PAGE : self._first] != _GUARD_BYTE)
        behind = np.flatnonzero(self._bytes[self._first + self.size : self._inner.stop] != _GUARD_BYTE)
        if before.size:
            return f"wrote {self._first - PAGE - int(before[-1])} B before its start"
        if behind.size:
            return f"wrote {int(behind[0])} B behind its end"
        return None

    def place_of(self, address: int) -> str | None:
        """Where an address lies, seen from the tensor; None outside this mapping."""
        if not self._base <= address < self._base + self._inner.stop + PAGE:
            return None
        offset = address - self.address
        if offset >= self.size:
            return f"{offset - self.size} B behind its end"
        return f"{-offset} B before its start" if offset < 0 else f"at its byte {offset}"
