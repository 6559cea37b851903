"""Threads: the same bits for any number, and never stuck."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from asmgen.paths import RUNTIME_DIR
from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, run
from tests.runtime.shipped import shipped

ROOT = RUNTIME_DIR.parent
COUNTS = (1, 2, 3, 4, 8)
WIDE = Linear(channels=3, height=16, width=16, outputs=10, batch=7, epochs=2, lr=1e-3)


def weights(trainer: Path, folder: Path, saved: Path, *options: object, **how: object) -> str:
    """SHA-256 of what a run saves."""
    said = run(trainer, "--data", folder, "--save", saved, "--quiet", *options, **how)
    assert (said.returncode, said.stderr) == (0, ""), said
    return hashlib.sha256(saved.read_bytes()).hexdigest()


def one_cpu() -> None:
    """For a child: takes all CPUs but one away."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.mark.parametrize("model", [Linear(), WIDE, Linear(outputs=1, batch=1)], ids=["small", "wide", "one unit"])
def test_same_bits(model: Linear, build: Build, tmp_path: Path) -> None:
    """Some calls have fewer units than there are threads."""
    folder = Data.make(model).write(tmp_path / "data")
    found = {count: weights(build(model), folder, tmp_path / "w", "--threads", count) for count in (*COUNTS, 64)}
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("catdog", {}),
        ("catdog", {"size": "24", "batch": "5"}),
        ("lenet", {}),
        ("lenet", {"batch": "6", "pool": "avg"}),
        ("mnist_mlp", {}),
        ("mnist_mlp", {"batch": "7", "optimizer": "momentum"}),
        ("mnist_sigmoid", {}),
        ("vgg_small", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
)
def test_shipped_models_same_bits(name: str, settings: dict[str, str], isa: str, tmp_path: Path) -> None:
    """As they are shipped, and with slices that are few or odd: an epoch of two batches and a sample, then the test."""
    _, trainer = shipped(name, settings, isa, tmp_path)
    found = {count: weights(trainer, tmp_path, tmp_path / "w", "--epochs", 1, "--threads", count) for count in COUNTS}
    assert len(set(found.values())) == 1, found


def test_more_threads_than_cpus(build: Build, tmp_path: Path) -> None:
    """8 threads on one CPU pass thousands of barriers."""
    folder = Data.make(WIDE, train=700).write(tmp_path / "data")
    started = time.monotonic()
    found = {
        weights(build(WIDE), folder, tmp_path / "w", "--threads", count, "--epochs", 5, preexec_fn=one_cpu)
        for count in (1, 8)
    }
    assert len(found) == 1
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("count", [2, 5])
def test_signals_at_any_moment(number: int, count: int, trainer: Path, data: Path, tmp_path: Path) -> None:
    """The weights are saved and whole, wherever the signal finds the threads."""
    saved = tmp_path / "weights"
    command = [str(trainer), "--data", str(data), "--epochs", "1000000", "--threads", str(count), "--save", str(saved)]
    for delay in (0.0, 0.001, 0.005, 0.02, 0.1):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the first line: from here on it trains
            time.sleep(delay)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert said.endswith(f"the weights are in {saved}\n"), said
        assert os.listdir(tmp_path) == ["weights"]
        saved.unlink()


def test_a_shrinking_file_in_any_thread(build: Build, tmp_path: Path) -> None:
    """The fault arises in whichever threads read beyond the end; one line says so."""
    model = Linear(height=40, width=40, batch=64)
    folder = Data.make(model, train=640).write(tmp_path / "data")
    command = [str(build(model)), "--data", str(folder), "--epochs", "1000000", "--threads", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.truncate(folder / "train-images-idx4-ubyte", 100)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "trainer: a data file changed or became unreadable while it was in use\n"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_system_calls(trainer: Path, data: Path, tmp_path: Path) -> None:
    """A run makes only the calls that docs/runtime.md lists; threads other than the main one do nothing but sleep."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", trace, trainer, "--data", data, "--threads", "3", "--save", tmp_path / "w"]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in said.stderr.lower():
        pytest.skip("tracing is not permitted")
    assert said.returncode == 0, said.stderr
    calls: dict[str, set[str]] = {}
    for line in trace.read_text().splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            calls.setdefault(found[1], set()).add(found[2])
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "runtime.md").read_text(), re.MULTILINE))
    main, *others = calls.values()
    assert main - {"execve"} <= documented
    assert "clone" in main
    assert len(others) == 2
    assert all(other <= {"futex"} for other in others)
