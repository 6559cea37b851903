"""Where the repository's own files lie, from a checkout or an editable install."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATES_DIR = REPOSITORY / "templates"
RUNTIME_DIR = REPOSITORY / "runtime"
GENERATED_DIR = REPOSITORY / "generated"
