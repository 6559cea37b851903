"""What this CPU can run and how much of it this process may use, read from /proc and the cgroup files."""

from __future__ import annotations

import os
from pathlib import Path

from asmgen.asm.isa import AVX2, AVX512, SSE41
from asmgen.errors import IsaError

#: Level -> the /proc/cpuinfo flags that its code needs, fastest level first. The kernel hides a flag whose registers
#: it does not save, so a flag that is listed can be used.
FEATURES: dict[str, frozenset[str]] = {isa.name: frozenset(isa.cpu_features) for isa in (AVX512, AVX2, SSE41)}

_CPUINFO = Path("/proc/cpuinfo")


def _cpuinfo_field(name: str, cpuinfo: Path) -> str:
    """The value of the first line `name : value`, or "" where the kernel does not print one (other architectures)."""
    for line in cpuinfo.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    return _cpuinfo_field("model name", cpuinfo) or "unknown CPU"


def cpu_kind(cpuinfo: Path = _CPUINFO) -> str:
    """Vendor, family and model number: what tells one microarchitecture from another."""
    return " ".join(_cpuinfo_field(name, cpuinfo) or "?" for name in ("vendor_id", "cpu family", "model"))


def cpu_features(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """The feature flags by their /proc/cpuinfo names (`avx512f`, `fma`, ...); empty where the CPU is not x86."""
    return frozenset(_cpuinfo_field("flags", cpuinfo).split())


def missing_features(isa: str, features: frozenset[str]) -> list[str]:
    """What a CPU with these features lacks for `isa`, sorted; empty if the level works."""
    return sorted(FEATURES[isa] - features)


def best_isa(features: frozenset[str] | None = None) -> str:
    """The fastest level that works on a CPU with `features` (default: this CPU).

    Raises IsaError where none does.
    """
    present = cpu_features() if features is None else features
    for isa in FEATURES:
        if not missing_features(isa, present):
            return isa
    raise IsaError(
        "this CPU lacks sse4_1, the least that a trainer needs; "
        "name a level (--isa sse41) to build here, and run the trainer on another machine"
    )


def affinity_cores() -> int:
    """Logical CPUs that the scheduler may put this process on."""
    return len(os.sched_getaffinity(0))


def quota_cores(cgroups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPU time per wall time that the cgroups grant this process (1.5 = one and a half cores); None if unlimited."""
    quotas = [quota for folder in _cgroup_folders(cgroups, mount) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(cgroups: Path, mount: Path) -> list[Path]:
    """Every folder that may limit this process: its own cgroup and all above it, for versions 2 and 1."""
    folders = []
    for line in cgroups.read_text().splitlines() if cgroups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / controllers if controllers else mount
        own = Path(path.lstrip("/"))
        folders += [root / parent for parent in (own, *own.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    try:
        if (v2 := folder / "cpu.max").exists():
            quota, period = v2.read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        v1_quota = int((folder / "cpu.cfs_quota_us").read_text())
        return v1_quota / int((folder / "cpu.cfs_period_us").read_text()) if v1_quota > 0 else None
    except OSError:
        return None
