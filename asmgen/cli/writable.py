"""Whether a result can be written where it shall go: said before the work that makes it, not after."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from asmgen.errors import UsageError
from asmgen.toolchain.tools import require_module


def require_writable(target: Path) -> None:
    """Raise UsageError unless the file, or a new one where there is none, can be written. Changes nothing."""
    if not target.exists():
        _require_folder(target)
        return
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}; name another file") from None


def require_replaceable(target: Path) -> None:
    """Raise UsageError unless a new file can take the place of `target`, be there one or not. Changes nothing."""
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: cannot be replaced, since it is not a regular file; name another file")
    _require_folder(target)


def require_picture(target: Path) -> None:
    """Raise ToolError where matplotlib is missing, UsageError where it cannot write `target`, or not of this kind."""
    require_module("matplotlib")
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if (kind := target.suffix[1:].lower() or "png") not in kinds:
        raise UsageError(f"{target}: a picture of kind {kind!r} cannot be drawn, only {', '.join(sorted(kinds))}")
    require_writable(target)


def _require_folder(target: Path) -> None:
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        problem = f"{target.parent}: {error.strerror}"
        raise UsageError(f"{target}: cannot be written: {problem}; name a file in another folder") from None
