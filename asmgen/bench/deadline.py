"""Programs that must end in time: each has a limit, a stage one for all of them, and what hangs is killed whole."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

TIMED_OUT = 124
_LEAST_SECONDS = 1.0  # what has less left is not started
_GRACE_SECONDS = 5.0  # that a killed process may take to leave a driver


@dataclass(frozen=True)
class Done:
    """A program that ended, or was ended; code TIMED_OUT with the reason in `stderr`."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """What it said last: of its errors, or else of its output."""
        lines = (self.stderr.strip() or self.stdout.strip() or f"exit code {self.code}").splitlines()
        return lines[-1]


@dataclass(frozen=True)
class Clock:
    """Seconds since the whole began."""

    now: Callable[[], float] = time.monotonic
    began: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return self.now() - self.began

    def until(self, second: float) -> Runner:
        """Runs programs until `second` of the whole."""
        return Runner(self, second)


@dataclass(frozen=True)
class Runner:
    """Runs programs that may take until second `end` of a clock."""

    clock: Clock
    end: float

    def left(self) -> float:
        """Seconds."""
        return self.end - self.clock.elapsed()

    def run(self, command: Sequence[object], seconds: float = 3600) -> Done:
        """A program and what it said; killed with all its children after `seconds`, or at the end of the stage."""
        limit = min(seconds, self.left())
        if limit < _LEAST_SECONDS:
            return Done(TIMED_OUT, "", "not run: no time was left")
        return run_limited(command, limit)


def run_limited(command: Sequence[object], seconds: float) -> Done:
    """A program and what it said; after `seconds` it and all its children are killed.

    Output goes through files, so that a child that keeps a pipe open, or a process that its driver does not let go,
    delays nobody.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        late = ""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code, late = TIMED_OUT, f"\nkilled after {seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if late:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    return Done(code, said[0], said[1] + late)
