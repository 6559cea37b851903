"""`--isa cuda` as a user types it: build, show, verify, train, and what they say where something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from asmgen.cli.main import main
from asmgen.data.idx import write_idx
from asmgen.toolchain import cuda_build, nvcc

TINY = """
from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, ReLU, SoftmaxCrossEntropy

def model(filters=3, batch=4):
    return Model(
        name="tiny", input=(1, 8, 8), layers=[Conv2D(filters, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)],
        loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1), batch_size=batch, epochs=2, data=Dataset("tiny"),
    )
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.py"
    path.write_text(TINY)
    return str(path)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_emit_only_needs_no_compiler(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same input gives the same bytes; a kernel that no longer belongs goes."""
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    folder = tmp_path / "tiny" / "cuda"
    texts = []
    for filters in 3, 5, 3:
        made = run("build", tiny, "--isa", "cuda", "--emit-only", "--out", tmp_path, "--set", f"filters={filters}")
        assert made.exit_code == 0, made.output
        texts.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert texts[0] == texts[2]
    trainer = texts[0]["trainer.cu"].decode()
    kernels = [name for name in texts[0] if name.endswith("_cuda.cu")]
    assert all(f'#include "{name}"' in trainer for name in kernels)
    assert "LAUNCH(load_input" in trainer
    manifest = json.loads(texts[0]["manifest.json"])
    assert sorted(f"{kernel['symbol']}.cu" for kernel in manifest["kernels"]) == kernels
    failed = run("build", tiny, "--isa", "cuda", "--out", tmp_path)
    assert failed.exit_code == 1
    assert "nvcc is missing" in failed.output
    assert "pip install" in failed.output


def test_an_error_of_the_compiler_is_one_line(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\necho 'trainer.cu(3): error: no' >&2\nexit 2\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(cuda_build, "require_nvcc", lambda: compiler)
    failed = run("build", tiny, "--isa", "cuda", "--out", tmp_path)
    assert failed.exit_code == 1
    assert "nvcc cannot compile" in failed.output
    assert "trainer.cu(3): error: no" in failed.output


@pytest.mark.parametrize("option", [["--arch", "sm_90"], ["--precision", "tf32"], ["--emulate"]])
def test_options_of_cuda_belong_to_cuda(option: list[str], tiny: str) -> None:
    failed = run("build", tiny, "--isa", "sse41", *option)
    assert failed.exit_code == 2
    assert f"{option[0]} is an option of --isa cuda" in failed.output


@pytest.mark.parametrize("command", ["build", "show", "verify", "train", "bench"])
def test_tf32_is_for_float32(command: str) -> None:
    failed = run(command, "models/mnist_sigmoid.py", "--isa", "cuda", "--precision", "tf32")
    assert failed.exit_code == 2
    assert "--precision tf32 is for float32 models; mnist_sigmoid is of float64\n" in failed.output


def test_show_lists_and_prints(tiny: str) -> None:
    table = run("show", tiny, "--isa", "cuda")
    assert table.exit_code == 0, table.output
    assert "workspace" in table.output
    rows = json.loads(run("show", tiny, "--isa", "cuda", "--json").output)
    assert {"kernel", "tile", "grid", "block", "shared_bytes", "mflop"} <= rows[0].keys()
    text = run("show", tiny, "pooled", "--isa", "cuda").output
    assert "__global__" in text
    assert "conv2d_dw_pooled" in run("show", tiny, "--isa", "cuda", "--plan").output
    tf32 = run("show", tiny, "bias_relu_maxpool2_f32", "--isa", "cuda", "--precision", "tf32").output
    assert tf32 != run("show", tiny, "bias_relu_maxpool2_f32", "--isa", "cuda").output


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_verify_says_that_it_emulates(tiny: str) -> None:
    result = run("verify", tiny, "--isa", "cuda", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "cuda, emulated on this CPU, products in float32" in result.output
    assert "kernels and 2 steps agree" in result.output


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_train_builds_what_is_stale_and_trains(tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for name in "train", "test":
        write_idx(data / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (9, 8, 8)).astype(np.uint8))
        write_idx(data / f"{name}-labels-idx1-ubyte", rng.integers(0, 3, 9).astype(np.uint8))
    command = ["train", tiny, "--isa", "cuda", "--emulate", "--out", tmp_path, "--data", data]
    for words in ["tiny for an emulated GPU"], ["-v", "nothing changed"]:
        options = [word for word in words if word.startswith("-")]
        trained = run(*options, *command)
        assert trained.exit_code == 0, trained.output
        assert words[-1] in trained.output
        assert "device emulated GPU" in capfd.readouterr().out
