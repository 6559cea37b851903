"""The program that checks trainers on a GPU, dry: with emulated trainers, on a CPU."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from asmgen.bench import gpu_check
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
    assert "tiny: 3 losses within " in done.output
    assert "same first weights, same bits again" in done.output
    table = done.output.splitlines()[-3:]
    assert [line.split()[:2] for line in table] == [["model", "products"], ["tiny", "float32"], ["tiny", "tf32"]]
    if importlib.util.find_spec("torch"):
        assert "x)" in table[1]


def test_what_fails_is_said_and_ends_with_1(models: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu_check.main, [str(tmp_path), "--models", str(models), "--dry-run"])
    assert done.exit_code == 1
    assert "FAILED parity, tiny" in done.output
