"""How many threads there are: by default what affinity and control groups allow; never more than the system gives."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.runtime.conftest import Build
from tests.runtime.linear import Linear, run

NOBODY = 65534
CPUS = len(os.sched_getaffinity(0))


def threads_of(said: subprocess.CompletedProcess[str]) -> int:
    assert said.returncode == 0, said
    found = re.search(r"threads (\d+)$", said.stdout.splitlines()[0])
    assert found, said
    return int(found[1])


def test_affinity(trainer: Path, data: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert 1 <= threads_of(run(trainer, "--data", data, "--eval")) <= len(allowed)
    one = run(trainer, "--data", data, "--eval", preexec_fn=lambda: os.sched_setaffinity(0, allowed[:1]))
    assert threads_of(one) == 1


def test_no_more_than_are_useful(build: Build, data: Path) -> None:
    small = build(Linear(useful_threads=1))
    assert threads_of(run(small, "--data", data, "--eval")) == 1
    assert threads_of(run(small, "--data", data, "--eval", "--threads", 2)) == 2
    assert f"(default: 1; of {CPUS} CPUs, no more than 1 shorten a step of this model)" in run(small, "--help").stdout


def in_groups(trainer: Path, data: Path, folder: Path, groups: str, files: Mapping[str, str]) -> int:
    """The threads of a trainer that sees `groups` as /proc/self/cgroup and `files` under /sys/fs/cgroup."""
    root = folder / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (folder / "groups").write_text(groups)
    script = 'mount --bind "$1" /sys/fs/cgroup && mount --bind "$2" /proc/$$/cgroup && shift 2 && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount"] if os.geteuid() else ["unshare", "--mount"]
    inside = ["sh", "-c", script, "sh", str(root), str(folder / "groups")]
    command = [*unshare, *inside, str(trainer), "--data", str(data), "--eval"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "linear" not in said.stdout:
        pytest.skip(f"cannot mount a control group of its own: {said.stderr.strip()}")
    return threads_of(said)


V1 = "11:memory:/other\n3:cpuacct,cpu:/a/b\n0::/\n"
LARGE = "999900000 100000\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, CPUS),
        ("", {"cpu.max": "100000 100000\n"}, CPUS),
        ("0::/\n", {"cpu.max": "max 100000\n"}, CPUS),
        ("0::/\n", {"cpu.max": LARGE}, CPUS),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "100001 100000\n"}, min(2, CPUS)),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "0 0\n"}, CPUS),
        ("0::/\n", {"cpu.max": ""}, CPUS),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 50000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": LARGE, "a/cpu.max": "1000 1000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "cpu.max": "1000 1000\n"}, 1),
        ("0::/not/here\n", {"cpu.max": "1000 1000\n"}, 1),
        ("0::/a/b", {"b/cpu.max": "1000 1000\n"}, CPUS),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, CPUS),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "70000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "70000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "70000\n"}, CPUS),
        ("4:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "7\n", "cpu/a/cpu.cfs_period_us": "10\n"}, CPUS),
        ("2:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "7\n", "cpu/a/cpu.cfs_period_us": "10\n"}, 1),
        ("no colons\n\n::\n0::/\n", {"cpu.max": "100000 100000\n"}, 1),
    ],
)
def test_quota(groups: str, files: dict[str, str], expected: int, trainer: Path, data: Path, tmp_path: Path) -> None:
    assert in_groups(trainer, data, tmp_path, groups, files) == expected


def test_the_system_refuses_a_thread(trainer: Path, data: Path, tmp_path: Path) -> None:
    """A limit on address space, which binds root, too: the second stack does not fit."""
    plain = run(trainer, "--data", data, "--threads", 1, "--save", tmp_path / "plain")
    said = run(
        trainer,
        *("--data", data, "--threads", 64, "--save", tmp_path / "weights"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (20 << 20, 40 << 20)),
    )
    started = threads_of(said)
    assert 1 <= started < 64
    assert said.stderr == (
        f"trainer: cannot start thread {started + 1} of 64: out of memory; continuing with {started}\n"
    )
    assert (tmp_path / "weights").read_bytes() == (tmp_path / "plain").read_bytes()
    assert said.stdout.splitlines()[-1] == plain.stdout.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's limit on processes can be set by root only")
def test_limit_on_processes(trainer: Path, data: Path) -> None:
    """As a user who may have no more processes."""

    def nobody() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # pytest's own folders are closed to others
        folder.chmod(0o755)
        shutil.copytree(data, folder / "data").chmod(0o755)
        shutil.copy(trainer, folder)
        said = run(folder / "trainer", "--data", folder / "data", "--threads", 3, preexec_fn=nobody)
    assert threads_of(said) == 1
    reason = "not available for now (threads: the limit of ulimit -u)"
    assert said.stderr == f"trainer: cannot start thread 2 of 3: {reason}; continuing with 1\n"
