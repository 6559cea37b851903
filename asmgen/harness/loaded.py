"""Libraries in this process, no more than it has room for: a kernel takes no mapping here for ever.

Linux gives a process 65,530 mappings. A library takes four, an emulated CUDA library with its stacks up to 2,050.
"""

from __future__ import annotations

import _ctypes
import ctypes
import weakref
from collections import OrderedDict
from pathlib import Path


class Loaded:
    """The libraries used last, at most `limit` of them. Others are unloaded as soon as nobody holds their CDLL.

    An address in a library is no hold: who keeps one while others load `limit` more keeps the CDLL, too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: OrderedDict[Path, ctypes.CDLL] = OrderedDict()
        self._all: weakref.WeakValueDictionary[Path, ctypes.CDLL] = weakref.WeakValueDictionary()

    def load(self, path: Path) -> ctypes.CDLL:
        """The library; the same object while it is loaded."""
        library = self._all.get(path)
        if library is None:
            library = ctypes.CDLL(str(path))
            weakref.finalize(library, _ctypes.dlclose, library._handle).atexit = False
            self._all[path] = library
        self._last[path] = library
        self._last.move_to_end(path)
        if len(self._last) > self._limit:
            self._last.popitem(last=False)
        return library
