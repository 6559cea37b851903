"""What pip installs: every dependency pinned for the tests, every data file found."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from asmgen import paths

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_has_a_pin() -> None:
    """The pin of PyTorch is in pyproject.toml itself: a newer one would bring other numbers to compare with."""
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pins = re.findall(r"^([\w-]+)==", (ROOT / "scripts" / "constraints.txt").read_text(), re.MULTILINE)
    assert {name.split(">=")[0] for name in wanted} == set(pins)
    assert all("==" in name for name in project["optional-dependencies"]["torch"])


def test_a_checkout_uses_its_own_files() -> None:
    assert (paths.TEMPLATES_DIR, paths.RUNTIME_DIR) == (ROOT / "templates", ROOT / "runtime")
    assert paths.GENERATED_DIR == ROOT / "generated"


def test_a_wheel_carries_every_template_and_runtime_file() -> None:
    """pyproject.toml's globs are one level deep."""
    carried = PROJECT["tool"]["setuptools"]["data-files"]
    assert set(carried) == {f"share/asmgen/{folder}" for folder in ("templates", "runtime")}
    for folder in ("templates", "runtime"):
        assert not [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.parent != ROOT / folder]
