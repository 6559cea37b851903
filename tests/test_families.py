"""Kernels, their tiles, CUDA emitters and templates lie in the same families, under the same names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KERNELS, TILES, CUDA = (ROOT / "asmgen" / name for name in ("kernels", "tile", "cuda"))
TEMPLATES = ROOT / "templates" / "cuda"
CUDA_ONLY = {"resident"}
#: What is decided before there is a kernel; `common` has no kernels.
DECISIONS = {"behind_max_pool", "dense_lanes"}
HEADERS = [path for path in sorted((ROOT / "tests" / "golden").rglob("*.*")) if path.suffix in (".asm", ".cu")]


def families(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"}


def modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_families_are_the_same() -> None:
    assert families(TILES) <= families(KERNELS)
    assert families(CUDA) - CUDA_ONLY <= families(KERNELS)
    assert families(TEMPLATES) <= families(CUDA)


@pytest.mark.parametrize("family", sorted(families(TILES) - {"common"}))
def test_a_tile_has_the_name_of_its_kernel(family: str) -> None:
    assert modules(TILES / family) - DECISIONS <= modules(KERNELS / family)


def test_no_kernel_lies_beside_the_families() -> None:
    assert modules(KERNELS) == {"registry"}
    assert modules(TILES) == {"candidates", "chain", "cost"}
    assert modules(CUDA) == {"listing", "precision", "registry", "render", "target"}


@pytest.mark.parametrize("golden", HEADERS, ids=lambda path: path.name)
def test_a_header_names_files_that_exist(golden: Path) -> None:
    found = re.search(r"-- edit (.*)", golden.read_text())
    assert found
    folder = ROOT
    for name in found[1].split(", "):
        path = ROOT / name if "/" in name else folder / name
        assert path.is_file(), name
        folder = path.parent
