"""Where asmgen finds its files that are not Python, and where it writes."""

from __future__ import annotations

import sysconfig
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
_IN_CHECKOUT = (_CHECKOUT / "pyproject.toml").is_file()
_SHARED = _CHECKOUT if _IN_CHECKOUT else Path(sysconfig.get_path("data")) / "share" / "asmgen"

TEMPLATES_DIR = _SHARED / "templates"
RUNTIME_DIR = _SHARED / "runtime"

#: `asmgen build` writes `<model>/<isa>/` below it: in the checkout, or in the current folder for an installed wheel.
GENERATED_DIR = (_CHECKOUT if _IN_CHECKOUT else Path.cwd()) / "generated"
