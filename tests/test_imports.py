"""Imports in asmgen/ only point down the pipeline, in the folder order that docs/architecture.md states."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "asmgen"

#: Modules beside the folders that hold facts and no stage; any stage may import them.
COMMON = ("errors", "paths", "version")


def documented_order() -> list[str]:
    """The list after "Folders, in import order" in the architecture document."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    found = re.search(r"Folders, in import order.*?`([a-z,\s]+)`\.", text, re.DOTALL)
    assert found, "docs/architecture.md no longer states the import order"
    return re.split(r",\s+", found.group(1))


def imported_stages(source: Path) -> list[tuple[int, str]]:
    """(line, stage) of every import of asmgen in a file; importing asmgen itself gives the stage "asmgen"."""
    stages = []
    for node in ast.walk(ast.parse(source.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: write absolute imports"
            names = [node.module or ""]
            if node.module == "asmgen":
                names = [f"asmgen.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "asmgen":
                stages.append((node.lineno, rest.partition(".")[0] or "asmgen"))
    return stages


ORDER = [*COMMON, *(stage for stage in documented_order() if stage not in COMMON)]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def test_every_folder_has_its_place_in_the_order() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= set(ORDER)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(source: Path) -> None:
    own = source.relative_to(PACKAGE).parts[0]
    allowed = ORDER[: ORDER.index(own) + 1]
    wrong = [f"{source}:{line}: imports {stage}" for line, stage in imported_stages(source) if stage not in allowed]
    assert not wrong, f"{own} may import only from {', '.join(allowed)}"


@pytest.mark.parametrize("module", COMMON)
def test_common_modules_know_no_stage(module: str) -> None:
    assert {stage for _, stage in imported_stages(PACKAGE / f"{module}.py")} <= set(COMMON)


@pytest.mark.parametrize("model", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.name)
def test_models_import_only_the_language(model: Path) -> None:
    lines = [line for line in model.read_text().splitlines() if re.match(r"\s*(import|from)\b", line)]
    assert lines
    assert all(line.startswith("from asmgen import ") for line in lines)
