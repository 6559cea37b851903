"""`np`: NumPy, imported where it is first used. Commands that only look at a model start without it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
else:

    class _Lazy:
        """Stands for a module until an attribute of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("numpy"), name)

    np = _Lazy()
    Array = Any

__all__ = ["Array", "np"]
