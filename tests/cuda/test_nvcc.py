"""Where nvcc is looked for, what it is told, and what is said where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from asmgen.errors import ToolError, UsageError
from asmgen.toolchain import nvcc
from asmgen.toolchain.cuda_build import CUDA_RUNTIME


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.9, V12.9.1'\n")
    path.chmod(0o755)
    return path


def test_the_toolkit_is_found_in_its_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(nvcc.sysconfig, "get_path", lambda name: str(tmp_path / "packages"))
    in_packages = program(tmp_path / "packages" / "nvidia" / "cu13" / "bin" / "nvcc")
    if not Path("/usr/local/cuda/bin/nvcc").exists():
        assert nvcc.find_nvcc() == in_packages
    in_home = program(tmp_path / "home" / "bin" / "nvcc")
    assert nvcc.find_nvcc() == in_home
    assert nvcc.find_nvcc() == in_home
    on_path = program(tmp_path / "path" / "bin" / "nvcc")
    assert nvcc.find_nvcc() == on_path
    assert nvcc.nvcc_version() == "12.9"
    on_path.unlink()
    on_path.symlink_to(in_home)  # nvcc finds its headers beside the real one
    assert nvcc.find_nvcc() == in_home.resolve()


def test_the_packages_own_library_folder_is_named(tmp_path: Path) -> None:
    compiler = program(tmp_path / "cu13" / "bin" / "nvcc")
    assert nvcc.library_dirs(compiler) == []
    (tmp_path / "cu13" / "lib").mkdir()
    (tmp_path / "cu13" / "lib" / "libcudart_static.a").write_bytes(b"")
    assert nvcc.library_dirs(compiler) == [tmp_path / "cu13" / "lib"]


def test_without_a_compiler_both_ways_to_get_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    assert nvcc.nvcc_version() is None
    with pytest.raises(ToolError, match=r"toolkit .* or its PyPI packages \(.*pip install .*\[cuda\]"):
        nvcc.require_nvcc()


def test_code_for_each_architecture_and_ptx_of_the_latest() -> None:
    flags = nvcc.arch_flags(nvcc.parse_arches("sm_80, sm_100,sm_90a,sm_80"))
    assert flags == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_100,code=sm_100",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_100,code=compute_100",
    ]


@pytest.mark.parametrize(("text", "words"), [("sm_75", "too old"), ("90", "like sm_90"), ("sm_80,", "like sm_90")])
def test_wrong_architectures_are_usage_errors(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        nvcc.parse_arches(text)


def test_trainers_refuse_the_gpus_that_the_compiler_does() -> None:
    assert f"least_capability = {nvcc.LEAST_ARCH};" in (CUDA_RUNTIME / "machine.cuh").read_text()
