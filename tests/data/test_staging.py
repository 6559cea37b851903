"""All or nothing: whatever stops a command, the output is the old one or the new one, and nothing lies beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from asmgen.data import staging
from asmgen.data.idx import write_idx
from asmgen.data.staging import staged_directory
from asmgen.data.synthesis import synth
from asmgen.data.workers import ordered_map
from asmgen.errors import DataError


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "classes.json").write_text("old")

    def fail() -> None:
        with staged_directory(out, replace=True) as stage:
            (stage / "classes.json").write_text("new")
            raise error

    with pytest.raises(DataError if error is OSError else error):
        fail()
    assert snapshot(tmp_path) == {"out/classes.json": b"old"}


def test_a_failure_takes_the_folders_above_with_it(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(RuntimeError), staged_directory(tmp_path / "here" / "and" / "there" / "out"):
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_failed_rename_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "classes.json").write_text("old")
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if ".partial-" in str(source):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(staging.os, "rename", fail)
    with pytest.raises(DataError, match="cannot write: No space left"), staged_directory(out, replace=True) as stage:
        (stage / "classes.json").write_text("new")
    assert snapshot(tmp_path) == {"out/classes.json": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_replace_is_asked_for_and_only_of_data_sets(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with staged_directory(out) as stage:
        (stage / "classes.json").write_text("1")
    assert oct(out.stat().st_mode) == oct(tmp_path.joinpath("deep").stat().st_mode)
    with pytest.raises(DataError, match=r"already holds a data set \(classes.json, ...\); replace it with --force"):
        staged_directory(out).__enter__()
    with staged_directory(out, replace=True) as stage:
        (stage / "classes.json").write_text("2")
    assert snapshot(tmp_path) == {"deep/out/classes.json": b"2"}
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds 'thesis.tex', which is not part of a data set"):
        staged_directory(out, replace=True).__enter__()
    with pytest.raises(DataError, match="is a file, not a directory"):
        staged_directory(out / "thesis.tex").__enter__()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the full disk, in a process of its own."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from asmgen.cli.main import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "data", "synth", "catdog", "--count=40", "--size=64", "--workers=1"]
    done = subprocess.run([*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"asmgen: error: {tmp_path}/out: cannot write: File too large; nothing was left behind\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "asmgen.cli.main", "data", "synth", "digits", "--workers=2", "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size > 100_000 for path in tmp_path.glob(".out.partial-*/train-images*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, number)  # as Ctrl-C in a terminal: the workers get it too
        _, errors = process.communicate(timeout=30)  # ends when the last worker has closed its stderr, too
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_a_dead_worker_is_one_line() -> None:
    with pytest.raises(DataError, match="a worker process died.*try again with --workers 1"):
        list(ordered_map(exec, "import os; os._exit(9)", 100, 2))  # the task runs its piece of the "items"


def test_write_idx_replaces_a_file_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "a", np.zeros(3, np.uint8))
    before = snapshot(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging.os, "replace", fail)
    with pytest.raises(DataError, match="a: cannot write: No space left"):
        write_idx(tmp_path / "a", np.ones(3, np.uint8))
    assert snapshot(tmp_path) == before


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write: (Not a directory|File exists)"):
        synth("digits", tmp_path / "file" / "out", count=20, workers=1)
