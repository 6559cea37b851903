"""Links objects with GNU ld: the static trainer, and the shared library of the same kernels that the checks call."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asmgen.errors import ToolError
from asmgen.toolchain.tools import find_program

# No build id: equal objects give equal bytes. Separate code: no page is both data and executable.
COMMON = ("--build-id=none", "-z", "noexecstack", "-z", "separate-code", "--fatal-warnings")


def link_trainer(objects: Sequence[Path], out: Path) -> None:
    """A static executable without interpreter. Raises ToolError, e.g. where a kernel is missing."""
    _link(["-static", "-nostdlib", *COMMON], objects, out)


def link_shared(objects: Sequence[Path], out: Path) -> None:
    """A shared library; its code must be position-independent."""
    _link(["-shared", "-z", "text", "-z", "now", "-z", "relro", "-soname", out.name, *COMMON], objects, out)


def _link(flags: list[str], objects: Sequence[Path], out: Path) -> None:
    """Written beside and renamed, so that a trainer that runs meanwhile keeps its bytes."""
    beside = out.with_name(out.name + ".tmp")
    command = [find_program("ld"), *flags, "-o", str(beside), *map(str, objects)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        beside.unlink(missing_ok=True)
        lines = said.stderr.splitlines() or ["no message"]
        raise ToolError(f"ld cannot link {out}: {lines[0].strip()}" + (f" (and {len(lines) - 1} more)" if lines[1:] else ""))
    os.replace(beside, out)
