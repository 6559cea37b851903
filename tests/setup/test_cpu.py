"""CPU levels and core limits, from files like those in /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from asmgen.errors import IsaError
from asmgen.toolchain import cpu

PENRYN = frozenset({"sse2", "ssse3", "sse4_1"})
HASWELL = PENRYN | {"avx", "avx2", "fma", "bmi1"}
KNIGHTS_LANDING = HASWELL | {"avx512f", "avx512cd"}
SKYLAKE_X = HASWELL | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("features", "best"),
    [
        (PENRYN, "sse41"),
        (HASWELL, "avx2"),
        (HASWELL - {"fma"}, "sse41"),
        (KNIGHTS_LANDING, "avx2"),
        (SKYLAKE_X, "avx512"),
    ],
)
def test_best_isa_needs_every_feature_of_a_level(features: frozenset[str], best: str) -> None:
    assert cpu.best_isa(features) == best


def test_no_level_is_an_error_that_names_the_feature() -> None:
    with pytest.raises(IsaError, match="lacks sse4_1.*--isa sse41"):
        cpu.best_isa(frozenset({"sse2"}))


def test_reads_model_and_flags(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu sse4_1 avx2\n\nprocessor\t: 1\n"
    )
    assert cpu.cpu_model(cpuinfo) == "Some CPU @ 2.0GHz"
    assert cpu.cpu_features(cpuinfo) == {"fpu", "sse4_1", "avx2"}


def test_other_architectures_have_no_level(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd\n")
    assert cpu.cpu_model(cpuinfo) == "unknown CPU"
    assert cpu.cpu_features(cpuinfo) == frozenset()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_quota_v2_takes_the_tightest_of_all_parents(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", "0::/slice/box\n")
    write(tmp_path / "fs/slice/cpu.max", "150000 100000\n")
    write(tmp_path / "fs/slice/box/cpu.max", "max 100000\n")
    assert cpu.quota_cores(tmp_path / "cgroup", tmp_path / "fs") == 1.5


def test_quota_v1(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n")
    write(tmp_path / "fs/cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "fs/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n")
    assert cpu.quota_cores(tmp_path / "cgroup", tmp_path / "fs") == 0.5


def test_no_quota(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", "0::/\n")
    assert cpu.quota_cores(tmp_path / "cgroup", tmp_path / "fs") is None
    assert cpu.quota_cores(tmp_path / "absent", tmp_path / "fs") is None
