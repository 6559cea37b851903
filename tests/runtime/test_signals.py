"""Stopping a trainer from outside, and what a terminal sees."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("save", [True, False])
def test_signal(number: int, code: int, save: bool, trainer: Path, data: Path, tmp_path: Path) -> None:
    """The step ends, the weights are saved, nothing is half done."""
    saved = tmp_path / "weights"
    options = ["--save", str(saved)] if save else []
    arguments = [str(trainer), "--data", str(data), "--epochs", "1000000", *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not process.stdout.readline().startswith("epoch"):
            pass
        process.send_signal(number)
        rest, said = process.stdout.read(), process.stderr.read()
    assert process.returncode == code
    where = f"the weights are in {saved}" if save else "nothing was saved"
    assert re.fullmatch(rf"trainer: stopped by signal {number} in epoch \d+ after step \d; {where}\n", said), said
    assert "test accuracy" not in rest
    assert os.listdir(tmp_path) == (["weights"] if save else [])
    if save:
        assert set(load_file(saved)) == {"1.weight", "1.bias"}


def test_the_first_signal_counts(trainer: Path, data: Path) -> None:
    """The trainer waits, its pipe full, while both arrive."""
    arguments = [str(trainer), "--data", str(data), "--epochs", "1000000", "--threads", "1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status")
        while "State:\tS" not in status.read_text():
            time.sleep(0.01)
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            while not re.search(r"ShdPnd:\t0+\n", status.read_text()):
                time.sleep(0.01)
        process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert said.startswith("trainer: stopped by signal 15 ")


def test_a_log_that_nobody_reads(trainer: Path, data: Path, tmp_path: Path) -> None:
    """A pipe without a reader is refused; one whose reader stands still keeps the trainer, but not from its signals."""
    log = tmp_path / "log"
    os.mkfifo(log)
    arguments = [str(trainer), "--data", str(data), "--log", str(log)]
    said = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    reason = "a pipe that nobody reads; start its reader first"
    assert (said.returncode, said.stderr) == (1, f"trainer: cannot write the log {log}: {reason}\n")

    pipe = os.open(log, os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, bytes(1 << 20))  # as much as it holds
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while "State:\tS" not in status.read_text():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stopped = process.communicate(timeout=60)[1]
    os.close(pipe)
    assert process.returncode == 128 + signal.SIGINT
    assert stopped.startswith("trainer: stopped by signal 2 ")


def test_data_that_shrinks(build: Build, tmp_path: Path) -> None:
    model = Linear(height=40, width=40)
    folder = Data.make(model).write(tmp_path / "data")
    arguments = [str(build(model)), "--data", str(folder), "--epochs", "1000000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not process.stdout.readline().startswith("epoch"):
            pass
        os.truncate(folder / "train-images-idx4-ubyte", 100)
        process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 1
    assert said == "trainer: a data file changed or became unreadable while it was in use\n"


def test_progress_on_a_terminal(build: Build, tmp_path: Path) -> None:
    """Within a long epoch a line that is written over, gone before the epoch's own line; at most five a second."""
    model = Linear(channels=3, height=32, width=32, outputs=10, epochs=1, lr=1e-4)
    folder = Data.make(model, train=15000).write(tmp_path / "data")
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal here: {error}")
    start = time.monotonic()
    with subprocess.Popen([str(build(model)), "--data", str(folder)], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the trainer has closed its end
                break
    seconds = time.monotonic() - start
    os.close(ours)
    assert process.returncode == 0
    lines = re.findall(r"\repoch 1/1  step +(\d+)/1875  loss \d+\.\d{4}  \d+ samples/s\x1b\[K", seen.decode())
    assert 1 <= len(lines) <= seconds / 0.2 + 1
    assert [int(step) for step in lines] == sorted(int(step) for step in lines)
    assert seen.decode().count("\r\x1b[Kepoch 1/1  loss ") == 1
