"""What a trainer takes: bytes of the executable, and memory beside its data."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.runtime.shipped import shipped

EXECUTABLE_BYTES = 300_000
ARENA_SHARE = 1.3  # resident, with all that is not the data set
SMALL_BYTES = 1 << 20  # the executable itself, stacks


@pytest.mark.parametrize("name", ["catdog", "mnist_mlp"])
def test_footprint(name: str, isa: str, tmp_path: Path) -> None:
    _, trainer = shipped(name, {}, isa, tmp_path)
    assert trainer.stat().st_size <= EXECUTABLE_BYTES
    command = [trainer, "--data", tmp_path, "--epochs", "1000", "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        arena = re.search(r"arena ([0-9.]+) MB", process.stdout.readline())
        assert process.stdout.readline().startswith("epoch ")
        most = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        process.send_signal(signal.SIGINT)
    assert arena is not None
    assert most is not None
    data_bytes = sum(path.stat().st_size for path in tmp_path.glob("*-ubyte"))
    assert int(most[1]) * 1024 <= data_bytes + ARENA_SHARE * float(arena[1]) * 1e6 + SMALL_BYTES
