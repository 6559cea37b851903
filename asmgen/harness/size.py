"""How many bytes of machine code a kernel has."""

from __future__ import annotations

import re
import subprocess

from asmgen.asm.listing import Listing
from asmgen.errors import ToolError
from asmgen.harness.library import build_library
from asmgen.toolchain.tools import find_program


def code_bytes(listing: Listing) -> int:
    """Size of .text, by assembling the kernel (kept in the harness's cache) and asking binutils' `size`."""
    library = str(build_library([listing.text()]))
    done = subprocess.run([find_program("size"), "-A", "-d", library], capture_output=True, text=True)
    found = re.search(r"^\.text\s+(\d+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise ToolError(f"size -A {library} failed: {done.stderr.strip() or 'no .text section'}")
    return int(found[1])
