"""Links objects with GNU ld: the static trainer, and the shared library of the same kernels that the checks call."""

from __future__ import annotations

import os
import signal
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
    """A shared library whose calls to itself stay in it; its code must be position-independent."""
    flags = ["-shared", "-Bsymbolic", "-z", "text", "-z", "now", "-z", "relro", "-soname", out.name]
    _link([*flags, *COMMON], objects, out)


def _link(flags: list[str], objects: Sequence[Path], out: Path) -> None:
    """Written beside and renamed, so that a trainer that runs meanwhile keeps its bytes."""
    beside = out.with_name(out.name + ".tmp")
    command = [find_program("ld"), *flags, "-o", str(beside), *map(str, objects)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        beside.unlink(missing_ok=True)
        silent = "no message" if said.returncode > 0 else f"ended by {signal.Signals(-said.returncode).name}"
        lines = [line for line in said.stderr.splitlines() if "in function" not in line] or [silent]
        more = f" (and {len(lines) - 1} more)" if lines[1:] else ""
        raise ToolError(f"ld cannot link {out}: {lines[0].strip()}{more}")
    os.replace(beside, out)
