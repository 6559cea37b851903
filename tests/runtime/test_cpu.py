"""CPUs other than this one, which QEMU's user mode stands in for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from asmgen.asm.isa import ISAS
from tests.runtime.conftest import Build
from tests.runtime.linear import Linear, run

QEMU = shutil.which("qemu-x86_64")

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed")


def on_cpu(cpu: str, trainer: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(Path(QEMU or ""), "-cpu", cpu, trainer, *arguments)


@pytest.mark.parametrize(
    ("isa", "cpu", "missing", "advice"),
    [
        ("avx512", "Haswell", "avx512f", "build it with --isa avx2"),
        ("avx512", "Penryn", "avx512f", "build it with --isa sse41"),
        ("avx2", "Penryn", "avx2", "build it with --isa sse41"),
        ("avx2", "SandyBridge", "avx2", "build it with --isa sse41"),
        ("sse41", "Conroe", "sse4_1", "no --isa of asmgen works here"),
        ("avx2", "qemu64", "avx2", "no --isa of asmgen works here"),
    ],
)
def test_missing_feature(isa: str, cpu: str, missing: str, advice: str, build: Build, data: Path) -> None:
    trainer = build(Linear(isa=isa, cpu_features=ISAS[isa].cpu_features))
    said = on_cpu(cpu, trainer, "--data", data)
    assert (said.returncode, said.stdout) == (3, "")
    expected = f"trainer: this CPU lacks {missing}, which this trainer (--isa {isa}) needs; {advice}\n"
    assert said.stderr.splitlines(keepends=True)[-1] == expected
    assert on_cpu(cpu, trainer, "--help").returncode == 0


def test_the_runtime_needs_no_more_than_sse41(trainer: Path, data: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(trainer, "--data", data, "--save", here).returncode == 0
    assert on_cpu("Penryn", trainer, "--data", data, "--save", there).returncode == 0
    assert here.read_bytes() == there.read_bytes()


def test_this_cpu_has_what_proc_cpuinfo_says(isa: str, build: Build, data: Path) -> None:
    trainer = build(Linear(isa=isa, cpu_features=ISAS[isa].cpu_features))
    assert run(trainer, "--data", data).returncode == 0
