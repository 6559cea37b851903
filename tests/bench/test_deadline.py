"""Programs with a limit: what hangs is ended with all its children, and what comes later still runs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from asmgen.bench.deadline import TIMED_OUT, Clock, run_limited

# Ignores what can be ignored, and leaves a child that keeps the output open.
HANGS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_hangs_is_killed_with_its_children_and_what_it_said_is_kept() -> None:
    began = time.monotonic()
    done = run_limited([sys.executable, "-c", HANGS], 1.5)
    assert time.monotonic() - began < 20
    assert (done.code, done.last_line) == (TIMED_OUT, "killed after 2 s")
    child = int(done.stdout)
    for _ in range(100):
        if not _is_alive(child):
            break
        time.sleep(0.05)
    assert not _is_alive(child)


def test_a_child_that_outlives_its_parent_delays_nobody() -> None:
    began = time.monotonic()
    done = run_limited([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60']); print(1)"], 30)
    assert time.monotonic() - began < 20
    assert (done.code, done.stdout) == (0, "1\n")


def test_the_end_of_a_stage_limits_its_programs() -> None:
    seconds = [0.0]
    runner = Clock(lambda: seconds[0], began=0.0).until(100)
    assert runner.run(["true"]).code == 0
    seconds[0] = 99.5
    late = runner.run([sys.executable, "-c", f"open({os.devnull!r})"])
    assert (late.code, late.last_line) == (TIMED_OUT, "not run: no time was left")


def test_errors_are_told_by_their_last_line() -> None:
    done = run_limited([sys.executable, "-c", "raise SystemExit('so and so')"], 30)
    assert (done.code, done.last_line) == (1, "so and so")
