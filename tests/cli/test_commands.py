"""build, show, verify and train as a user types them: what they print, their exit codes and their errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from asmgen.asm.isa import ISAS
from asmgen.cli.main import main
from asmgen.data.idx import write_idx
from asmgen.emit.planning import plan_for
from asmgen.kernels import registry
from asmgen.model.load import load_model
from asmgen.plan import specs
from asmgen.tile.candidates import candidates

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


def fails(result: Result, code: int, *words: str) -> None:
    """One line of error with these words, and the exit code."""
    assert result.exit_code == code, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("asmgen: error:")]
    assert len(errors) == 1, result.output
    for word in words:
        assert word in errors[0]


def test_build_writes_a_trainer_and_then_rests(tiny: str, tmp_path: Path, isa: str) -> None:
    first = run("build", tiny, "--isa", isa, "--out", tmp_path / "out")
    assert first.exit_code == 0, first.output
    trainer = tmp_path / "out" / "tiny" / isa / "trainer"
    assert str(trainer) in first.output
    stamp = trainer.stat().st_mtime_ns
    assert "nothing changed" in run("-v", "build", tiny, "--isa", isa, "--out", tmp_path / "out").output
    assert trainer.stat().st_mtime_ns == stamp
    run("build", tiny, "--isa", isa, "--out", tmp_path / "out", "--set", "filters=5")
    assert trainer.stat().st_mtime_ns != stamp


def test_a_build_of_which_nothing_changed_loads_no_generator(tiny: str, tmp_path: Path) -> None:
    """It reads, hashes and compares; importing NumPy and what emits kernels would take five times as long."""
    build = ["build", tiny, "--isa", "sse41", "--out", str(tmp_path)]
    assert run(*build).exit_code == 0
    heavy = ("numpy", "peachpy", "jinja2", "asmgen.plan.plan", "asmgen.kernels.registry", "asmgen.cuda.registry")
    code = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))
from asmgen.cli.main import main
main({["-v", *build]})
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nothing changed" in said.stderr
    assert said.stdout.splitlines()[-1] == "[]"


def test_what_a_build_wrote_and_someone_changed_is_written_again(tiny: str, tmp_path: Path) -> None:
    build = ("build", tiny, "--isa", "sse41", "--out", tmp_path)
    assert run(*build).exit_code == 0
    folder = tmp_path / "tiny" / "sse41"
    first = {path: path.read_bytes() for path in (folder / "trainer", folder / "trainer.asm")}
    (folder / "objects" / "runtime_init.o").write_bytes(b"junk")
    for path, content in first.items():
        path.write_bytes(content[: len(content) // 2])
        assert run(*build).exit_code == 0
        assert {path: path.read_bytes() for path in first} == first
    assert "nothing changed" in run("-v", *build).output


def test_builds_into_one_folder_wait_for_each_other(tiny: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "asmgen.cli.main", "build", tiny, "--isa", "sse41", "--out", str(tmp_path)]
    options = ([], ["--set", "filters=5"], [])
    runs = [subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True) for more in options]
    assert [(process.communicate()[1], process.returncode)[1] for process in runs] == [0, 0, 0]
    assert run(*command[3:]).exit_code == 0
    fresh = run(*command[3:-1], tmp_path / "alone")
    assert fresh.exit_code == 0
    here, alone = (tmp_path / "tiny" / "sse41" / "trainer", tmp_path / "alone" / "tiny" / "sse41" / "trainer")
    assert here.read_bytes() == alone.read_bytes()


def test_a_full_disk_during_a_build(tiny: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "asmgen.cli.main", "build", tiny, "--isa", "sse41", "--out", str(tmp_path)]
    for blocks, words in (3, "cannot write: File too large"), (24, "ended by SIGXFSZ"):
        limited = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command]
        said = subprocess.run(limited, capture_output=True, text=True)
        assert (said.returncode, said.stderr.count("asmgen: error:")) == (1, 1), said.stderr
        assert words in said.stderr
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_what_is_not_installed_is_said_before_the_work(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("matplotlib", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    picture = tmp_path / "picture.png"
    fails(run("train", tiny, "--curves", picture, "--out", tmp_path / "out"), 1, "matplotlib is missing", "make setup")
    fails(run("profile", tiny, "--picture", picture, "--out", tmp_path / "out"), 1, "matplotlib is missing")
    fails(run("bench", tiny, "--against", "torch", "--out", tmp_path / "out"), 1, "torch is missing")
    assert not (tmp_path / "out").exists()
    bench = run("bench", tiny, "--isa", "sse41", "--work", "step", "--rounds", 1, "--seconds", 0.01, "--out", tmp_path)
    assert bench.exit_code == 0, bench.output
    assert "not measured: PyTorch" in bench.output
    assert "asmgen sse41" in bench.output


def test_where_nothing_can_be_written_is_said_before_the_work(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def works(*_: object) -> None:
        raise AssertionError("it began to work")

    for name in ("bench.tune.tune", "cli.profile._measure", "cli.train.build_if_stale"):
        monkeypatch.setattr(f"asmgen.{name}", works)
    nowhere = tmp_path / "nowhere"
    fails(run("tune", tiny, "-o", nowhere / "x.json"), 2, f"{nowhere}: No such file", "another folder")
    beside = Path(tiny).with_suffix(".tune.json")
    beside.write_text("{}")
    fails(run("tune", tiny), 2, "no tune file", "delete it, or name another file with -o")
    beside.unlink()
    beside.mkdir()
    fails(run("tune", tiny), 2, "tiny.tune.json: cannot be replaced, since it is not a regular file")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra [plot])")
    for command in ("profile", tiny, "--picture"), ("train", tiny, "--curves"):
        fails(run(*command, nowhere / "x.png"), 2, f"{nowhere}: No such file", "another folder")
        fails(run(*command, tmp_path / "x.xyz"), 2, "x.xyz: a picture of kind 'xyz' cannot be drawn", "png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.py", "tiny.tune.json"]


def test_emit_only_does_not_assemble(tiny: str, tmp_path: Path) -> None:
    assert run("build", tiny, "--isa", "sse41", "--emit-only", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "tiny" / "sse41" / "trainer.asm").exists()
    assert not (tmp_path / "tiny" / "sse41" / "trainer").exists()


def test_show_lists_and_prints(tiny: str) -> None:
    table = run("show", tiny, "--isa", "avx2")
    assert table.exit_code == 0
    assert "conv3_fwd_n4c1h8w8" in table.output
    rows = json.loads(run("show", tiny, "--isa", "avx2", "--json").output)
    assert {"kernel", "tile", "code_bytes", "mflop", "predicted_kcycles"} <= rows[0].keys()
    listing = run("show", tiny, "relu_maxpool2_f32", "--isa", "avx2").output
    assert listing.startswith("; conv2d_fwd")
    assert "vfmadd231ps" in listing
    plan = run("show", tiny, "--isa", "avx2", "--plan").output
    assert "conv2d_fwd+bias+relu+maxpool2" in plan
    fails(run("show", tiny, "dense", "--isa", "avx2"), 2, "names more than one", "dense_fwd")
    fails(run("show", tiny, "dens_fw", "--isa", "avx2"), 2, "names none of 11; the closest are dense_fwd_n4f27")
    fails(run("show", tiny, "dense_fwd", "--json"), 2, "KERNEL and --json each choose what is shown")
    fails(run("show", tiny, "dense_fwd", "--plan"), 2, "KERNEL and --plan each choose what is shown")
    fails(run("show", tiny, "--plan", "--json"), 2, "--plan and --json each choose what is shown")


def test_verify_agrees(tiny: str, isa: str) -> None:
    result = run("verify", tiny, "--isa", isa, "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "kernels and 2 steps agree" in result.output


def test_verify_names_the_first_kernel_that_is_wrong(tiny: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias that the kernel forgets is found by the kernel's own check, and by the step if that is blind."""
    right = registry._EMITTERS[specs.DenseForward]

    def forgets_bias(spec: specs.DenseForward, level: object) -> object:
        import dataclasses

        wrong = right(dataclasses.replace(spec, bias=False), level)  # type: ignore[arg-type]
        return dataclasses.replace(wrong, symbol=spec.symbol(wrong.isa))

    monkeypatch.setitem(registry._EMITTERS, specs.DenseForward, forgets_bias)
    fails(run("verify", tiny, "--isa", isa, "--steps", 1), 1, "dense_fwd")


def test_tune_writes_what_build_and_the_others_read(tiny: str, tmp_path: Path, isa: str) -> None:
    """A file beside the model counts; it is part of the build; --no-tune and --tune say otherwise."""
    beside = Path(tiny).with_suffix(".tune.json")
    result = run("tune", tiny, "--isa", isa, "--top", 2, "--rounds", 2)
    assert result.exit_code == 0, result.output
    assert "dense_fwd_n4f27" in result.output
    tuned = json.loads(beside.read_text())
    assert tuned["model"] == "tiny"
    stem = "dense_dx_n4f27c3h3w3_k3_f32"
    spec = next(spec for spec in plan_for(load_model(tiny), ISAS[isa]).specs() if spec.stem() == stem)
    choice = str(candidates(spec, ISAS[isa])[1].tile)
    tuned["levels"][isa].update(algorithms={}, tiles={stem: {"choice": choice, "gain": 1.5}})
    beside.write_text(json.dumps(tuned))
    out = ("--isa", isa, "--out", tmp_path / "out")
    built = run("build", tiny, *out)
    assert f"tiny.tune.json: 1 choice for {isa}" in built.output
    assert "nothing changed" in run("-v", "build", tiny, *out).output
    assert "tile from tiny.tune.json" in run("show", tiny, stem, "--isa", isa).output
    assert "tile from" not in run("show", tiny, stem, "--isa", isa, "--no-tune").output
    assert run("verify", tiny, "--isa", isa, "--steps", 1).exit_code == 0
    assert "nothing changed" not in run("-v", "build", tiny, *out, "--no-tune").output
    moved = beside.rename(tmp_path / "other.json")
    assert "tile from other.json" in run("show", tiny, stem, "--isa", isa, "--tune", moved).output
    assert (
        "not used, since no kernel has such a shape"
        in run("show", tiny, *out[:2], "--tune", moved, "--set", "batch=5").output
    )
    fails(run("build", tiny, *out, "--tune", moved, "--no-tune"), 2, "give one of them")
    fails(run("build", tiny, *out, "--tune", tmp_path / "nowhere.json"), 2, "nowhere.json", "does not exist")
    moved.write_text(moved.read_text().replace(choice, "huge"))
    fails(run("build", tiny, *out, "--tune", moved), 2, stem, "huge", "asmgen tune")


def test_train_runs_the_trainer(tiny: str, tmp_path: Path, isa: str) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", rng.integers(0, 256, (10, 8, 8)).astype(np.uint8))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", rng.integers(0, 3, 10).astype(np.uint8))
    log = tmp_path / "log.csv"
    args = ("--isa", isa, "--out", tmp_path / "out", "--data", tmp_path, "--log", log, "--epochs", "3")
    result = run("train", tiny, *args)
    assert result.exit_code == 0, result.output
    assert len(log.read_text().splitlines()) == 4
    assert run("train", tiny, *args[:6], "--epochs", "many").exit_code == 2


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["build", "nowhere.py"], 2, ["nowhere.py", "cannot read the model file"]),
        (["build", "TINY", "--isa", "mmx"], 2, ["mmx", "sse41"]),
        (["build", "TINY", "--set", "depth=3"], 2, ["depth", "filters", "batch"]),
        (["build", "TINY", "--set", "filters=many"], 2, ["filters", "many"]),
        (["build", "TINY", "--set", "filters"], 2, ["write KEY=VALUE"]),
        (["build", "TINY", "--set", "batch=1", "--set", "batch=2"], 2, ["batch", "given twice"]),
        (["build", "TINY", "--set", "filters=0"], 1, ["tiny.py:6", "filters=0"]),
        (["paint", "TINY"], 2, ["paint"]),
    ],
)
def test_wrong_usage(args: list[str], code: int, words: list[str], tiny: str) -> None:
    fails(run(*(tiny if arg == "TINY" else arg for arg in args)), code, *words)


def test_debug_ladder(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for level in range(6):
        monkeypatch.setenv("ASMGEN_DEBUG", str(level))
        seen.append(run("build", tiny, "--isa", "sse41", "--out", tmp_path).output)
    assert "conv2d_fwd+bias+relu+maxpool2" not in seen[0]
    assert "conv2d_fwd+bias+relu+maxpool2" in seen[1]
    assert "MFLOP" in seen[2]
    assert "offset" in seen[3]
    assert "mulps" in seen[4]
    assert "00000000 " in seen[5]
    assert [len(text) for text in seen] == sorted(len(text) for text in seen)
