"""`asmgen bench` from end to end on a tiny model, and what it says of wrong options."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from asmgen.cli.main import main
from asmgen.peers.naive import c_compiler
from asmgen.toolchain.cpu import FEATURES

MODEL = """
from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, ReLU, SoftmaxCrossEntropy

def model(lr=0.1):
    return Model(
        name="tiny", input=(1, 6, 6), layers=[Conv2D(3, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)],
        loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=lr), batch_size=4, data=Dataset("none", validation=("test", 0, 2)),
    )
"""
QUICK = ["--isa", "sse41", "--rounds", "1", "--seconds", "0.01"]


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "tiny.py").write_text(MODEL)

    def run(*args):
        return CliRunner().invoke(main, ["bench", str(tmp_path / "tiny.py"), "--out", str(tmp_path), *args])

    return run


@pytest.mark.isa("sse41")
@pytest.mark.skipif(c_compiler() is None, reason="no C compiler")
def test_everything_but_torch(bench):
    done = bench(*QUICK, "--set", "lr=0.2", "--threads", "1,2", "--against", "numpy,c,python", "--kernels", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    rows = {(row["work"], row["name"], row["threads"]) for row in result["rows"]}
    for work in ("step", "inference", "latency"):
        for threads in (1, 2):
            assert {(work, "asmgen sse41", threads), (work, "numpy", threads)} <= rows
    loops = {name for work, name, _ in rows if work == "loops"}
    assert loops == {"asmgen sse41", "plain C, estimated", "plain Python, estimated"}
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert result["command"].endswith(
        "--set lr=0.2 --isa sse41 --threads 1,2 --against numpy,c,python "
        "--work step,inference,latency,loops --kernels --rounds 1 --seconds 0.01"
    )
    assert [kernels["isa"] for kernels in result["kernels"]] == ["sse41"]


@pytest.mark.isa("sse41")
def test_torch_in_another_dtype(bench):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    done = bench(*QUICK, "--work", "step", "--dtype", "float64")
    assert done.exit_code == 0, done.output
    assert "tiny, float64, batch 4: training step" in done.stdout
    assert "torch channels_last" in done.stdout
    assert "bf16" not in done.stdout
    assert "best peer" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--against", "jax"], "--against jax: of torch, numpy, c, python; or none"),
        (["--work", "sleep"], "--work sleep: of step, inference, latency, loops; or none"),
        (["--threads", "1,x"], "--threads 1,x: write whole numbers from 1, such as 1,2"),
        (["--seconds", "nan"], "'--seconds': nan is not in the range 0.0<x<=3600"),
        (["--seconds", "inf"], "'--seconds': inf is not in the range 0.0<x<=3600"),
        (["--seconds", "-1"], "'--seconds': -1.0 is not in the range 0.0<x<=3600"),
        (["--seconds", "0"], "'--seconds': 0.0 is not in the range 0.0<x<=3600"),
    ],
)
def test_wrong_options(bench, args, message):
    done = bench(*args)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_cpu_without_the_level(bench, monkeypatch):
    monkeypatch.setattr("asmgen.cli.bench.cpu_features", lambda: frozenset({"sse4_1"}))
    done = bench("--isa", "avx512")
    assert done.exit_code == 3
    assert "this CPU lacks avx" in done.stderr


@pytest.mark.parametrize("levels", [("avx512", "avx2", "sse41"), ("native",)])
def test_the_result_says_whose_figures_stand_in(bench, monkeypatch, levels):
    monkeypatch.setattr("asmgen.cli.bench.cpu_features", lambda: FEATURES["avx2"] | FEATURES["sse41"])
    asked = [word for level in levels for word in ("--isa", level)]
    done = bench(*asked, "--work", "none", "--against", "none", "--json")
    assert done.exit_code == 0, done.output
    (missing,) = json.loads(done.stdout)["missing_levels"]
    assert (missing["isa"], missing["instead"]) == ("avx512", "avx2")
    assert "avx512f" in missing["lacks"]
