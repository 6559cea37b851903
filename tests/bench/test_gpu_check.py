"""The program that checks trainers on a GPU, dry: with emulated trainers, on a CPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from asmgen.bench.gpu import check as gpu_check
from asmgen.cli.main import main

TINY = """
from asmgen import SGD, Dataset, Dense, Flatten, Model, ReLU, SoftmaxCrossEntropy

def model():
    return Model(
        name="tiny", input=(1, 8, 8), layers=[Flatten(), Dense(5), ReLU(), Dense(3)], loss=SoftmaxCrossEntropy(),
        optimizer=SGD(lr=0.1), batch_size=4, epochs=2, data=Dataset("tiny", scale=1 / 255),
    )
"""
EMULATED = ("--isa", "cuda", "--emulate")
BUILDS = (("float32", "--isa", "sse41"), ("float32", *EMULATED), ("tf32", *EMULATED, "--precision", "tf32"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny.py").write_text(TINY)
    return folder


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_dry_run_compares_and_prints_a_table(models: Path, tmp_path: Path) -> None:
    for name, *options in BUILDS:
        built = CliRunner().invoke(main, ["build", f"{models}/tiny.py", *options, "--out", f"{tmp_path}/{name}"])
        assert built.exit_code == 0, built.output
    done = CliRunner().invoke(gpu_check.main, [str(tmp_path), "--models", str(models), "--dry-run"])
    assert done.exit_code == 0, done.output
    has_torch = importlib.util.find_spec("torch")
    again = "same first weights; the same bits again"
    assert re.search(
        f"tiny: resident, 20 losses within .*{again}; by launches, 20 losses within .*{again}", done.output
    )
    assert "by launches instead of resident" in done.output
    assert ("of PyTorch's" if has_torch else "PyTorch is not here") in done.output
    _, table = done.output.split("\nSpeed\n")
    rows = [line.split()[:3] for line in table.splitlines() if "tiny" in line]
    peers = [[["tiny", name, "PyTorch"]] if has_torch else [] for name in ("float32", "tf32")]
    assert rows == [["tiny", "float32", "asmgen"], *peers[0], ["tiny", "tf32", "asmgen"], *peers[1]]


def test_what_fails_is_said_and_ends_with_1(models: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        gpu_check.main, [str(tmp_path), "--models", str(models), "--dry-run", "--stage", "parity"]
    )
    assert done.exit_code == 1
    assert "FAILED parity, tiny: " in done.output
    assert "build it with scripts/gpu_prepare.sh" in done.output


def test_stages_are_chosen_and_each_runs_although_one_fails(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setitem(gpu_check.WORK, "machine", breaks)
    options = ["--models", str(models), "--dry-run", "--stage", "machine", "--stage", "parity"]
    done = CliRunner().invoke(gpu_check.main, [str(tmp_path), *options])
    assert done.exit_code == 1
    assert "FAILED machine, ValueError: no" in done.output
    assert "== parity" in done.output
    assert "== speed" not in done.output


def test_every_stage_ends_in_time() -> None:
    ends = list(gpu_check.STAGES.values())
    assert ends == sorted(ends)
    assert ends[-1] < gpu_check.ALARM_SECONDS < 9 * 60
