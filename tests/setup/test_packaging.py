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
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["plot"]]
    pins = re.findall(r"^([\w-]+)==", (ROOT / "scripts" / "constraints.txt").read_text(), re.MULTILINE)
    assert {name.split(">=")[0] for name in wanted} == set(pins)
    assert all("==" in name for name in extras["torch"])


def test_a_checkout_uses_its_own_files() -> None:
    assert (paths.TEMPLATES_DIR, paths.RUNTIME_DIR) == (ROOT / "templates", ROOT / "runtime")
    assert paths.GENERATED_DIR == ROOT / "generated"


def test_a_wheel_carries_every_template_and_runtime_file() -> None:
    carried = PROJECT["tool"]["setuptools"]["data-files"]
    found = {path for globs in carried.values() for pattern in globs for path in ROOT.glob(pattern)}
    assert found == {path for top in ("templates", "runtime") for path in (ROOT / top).rglob("*") if path.is_file()}
    for target, globs in carried.items():
        assert [str(Path(pattern).parent) for pattern in globs] == [target.removeprefix("share/asmgen/")]
