"""A whole run of the trainer against the same run in NumPy."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from asmgen.emit.trainer_model import Split
from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, run


def last_line(said: str) -> str:
    return said.splitlines()[-1]


MODELS = {
    "test split judged": Linear(dtype="float64"),
    "validation inside train": Linear(dtype="float64", validation=Split("train", 5, 12)),
    "validation first": Linear(dtype="float64", validation=Split("train", 0, 9)),
    "validation in test": Linear(dtype="float64", validation=Split("test", 3, -1)),
    "binary": Linear(dtype="float64", outputs=1, lr=0.02),
    "hyper 1": Linear(dtype="float64", hyper=1, betas=(0.9, 0.999), epochs=4),
    "hyper 2": Linear(dtype="float64", hyper=2, betas=(0.9, 0.9), lr=1.0, epochs=2),
    "one batch, not full": Linear(dtype="float64", channels=3, batch=64),
    "float32": Linear(),
    "float32, hyper 1": Linear(hyper=1, betas=(0.5, 0.999), validation=Split("train", 36, 45)),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_run_equals_numpy(model: Linear, build: Build, tmp_path: Path) -> None:
    data = Data.make(model)
    folder = data.write(tmp_path / "data")
    saved, log = tmp_path / "weights.safetensors", tmp_path / "log.csv"
    said = run(build(model), "--data", folder, "--save", saved, "--log", log)
    assert (said.returncode, said.stderr) == (0, "")

    weight, bias, epochs = model.train(data)
    tolerance = 1e-12 if model.dtype == "float64" else 2e-6
    tensors = load_file(saved)
    np.testing.assert_allclose(tensors["1.weight"], weight, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(tensors["1.bias"], bias, rtol=tolerance, atol=tolerance)

    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert len(rows) == len(epochs) == model.epochs
    for row, expected in zip(rows, epochs, strict=True):
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=max(tolerance, 1e-8)), name
        assert float(row["seconds"]) > 0
        assert float(row["samples_per_s"]) > 0
        assert float(row["evaluated_per_s"]) > 0

    images, labels = data.splits["test"]
    _, predictions, _ = model.forward(weight, bias, images, labels)
    right = int((predictions == labels).sum())
    assert last_line(said.stdout) == f"test accuracy {100 * right / len(labels):.2f}% ({right}/{len(labels)})"


def test_output_lines(build: Build, tmp_path: Path) -> None:
    model = Linear(validation=Split("train", 0, 5), epochs=10)
    data = Data.make(model)
    folder = data.write(tmp_path / "data")
    said = run(build(model), "--data", folder, "--threads", 2).stdout.splitlines()
    first = "linear  21 parameters  float32  sse41  batch 8  train 40  val 5  test 21  arena 0.0 MB  threads 2"
    assert said[0] == first
    for number, line in enumerate(said[1:11], 1):
        assert re.fullmatch(
            rf"epoch {number:2}/10  loss \d\.\d{{4}}  train \d+\.\d\d%  val \d+\.\d\d%  \d+ samples/s  "
            r"evaluation \d+ samples/s",
            line,
        ), line
    assert [line.split("  ")[0] for line in said[11:14]] == ["class 0", "class 1", "class 2"]
    counts = [re.search(r"\((\d+)/(\d+)\)$", line) for line in said[11:]]
    per_class = [(int(found[1]), int(found[2])) for found in counts if found]
    assert per_class[-1] == tuple(map(sum, zip(*per_class[:-1], strict=True)))
    assert [seen for _, seen in per_class[:-1]] == np.bincount(data.splits["test"][1], minlength=3).tolist()


def test_class_names(trainer: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    for file in data.iterdir():
        (folder / file.name).symlink_to(file)

    def first_words(text: str, warning: str = "") -> list[str]:
        (folder / "classes.json").write_text(text)
        said = run(trainer, "--data", folder, "--eval")
        assert said.stderr == (f"trainer: {folder}/classes.json {warning}; classes have numbers\n" if warning else "")
        return [line.split("accuracy")[0].rstrip() for line in said.stdout.splitlines() if line.startswith("class")]

    numbers = ["class 0", "class 1", "class 2"]
    assert first_words('["cat", "guinea pig" ,\n"Hund"]') == ["class cat", "class guinea pig", "class Hund"]
    assert first_words('["caf\\u00e9", "\\"b\\"", "c"]') == ["class café", 'class "b"', "class c"]
    assert first_words('["\\ud83d\\udc31", "\\u20ac", "\\ud800\\udc00"]') == ["class 🐱", "class €", "class 𐀀"]
    assert first_words('["a\\u001b[2Jb", "\\u0000\\u007f", "\\u009bc\\u00e9"]') == [
        "class a?[2Jb",
        "class ??",
        "class ??cé",
    ]
    for count, wrong in ((2, '["cat", "dog"]'), (4, '["a","b","c","d"]')):
        assert first_words(wrong, f"names {count} classes, but linear has 3") == numbers, wrong
    half_pairs = ('["a","b","\\ud83d"]', '["a","b","\\udc31"]', '["a","b","\\ud83d\\u0041"]', '["a","b","\\ud83dx"]')
    for wrong in ('{"a": 1}', '["a","b","c"] x', "", '["a","b",3]', '["a","b"', f'["a","b","{"c" * 40}"]', *half_pairs):
        assert first_words(wrong, "is not a list of names of at most 39 bytes") == numbers, wrong


def test_same_seed_same_bytes_other_seed_other_bytes(trainer: Path, data: Path, tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((5, 5, 6)):
        saved = tmp_path / f"{number}.safetensors"
        said = run(trainer, "--data", data, "--seed", seed, "--save", saved)
        runs.append((re.sub(r"\d+ samples/s", "", said.stdout), saved.read_bytes()))
    assert runs[0] == runs[1]
    assert runs[0][1] != runs[2][1]


def test_batch_limit(build: Build, tmp_path: Path) -> None:
    model = Linear(dtype="float64")
    data = Data.make(model)
    saved = tmp_path / "weights.safetensors"
    run(build(model), "--data", data.write(tmp_path / "data"), "--save", saved, "--batch-limit", 2)
    weight, _, _ = model.train(data, batch_limit=2)
    np.testing.assert_allclose(load_file(saved)["1.weight"], weight, rtol=1e-12)


@pytest.mark.parametrize("options", [["--epochs", "0"], ["--eval"], ["--quiet", "--epochs=0"]], ids=" ".join)
def test_test_only(options: list[str], trainer: Path, tmp_path: Path) -> None:
    model = Linear()
    data = Data.make(model)
    said = run(trainer, "--data", data.write(tmp_path / "data", rank=3, test="t10k"), *options)
    images, labels = data.splits["test"]
    _, predictions, _ = model.forward(*model.first_weights(), images, labels)
    right = int((predictions == labels).sum())
    assert (said.returncode, said.stderr) == (0, "")
    assert last_line(said.stdout) == f"test accuracy {100 * right / 21:.2f}% ({right}/21)"
    assert "epoch" not in said.stdout
    if "--quiet" in options:
        assert said.stdout.count("\n") == 1


def test_data_directory(trainer: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dots").symlink_to(data)
    assert run(trainer, "--eval", cwd=tmp_path).returncode == 0
    assert run(trainer, "--eval", cwd="/", env={"ASMGEN_DATA": str(tmp_path / "data")}).returncode == 0
    said = run(trainer, "--eval", cwd="/", env={"ASMGEN_DATA": str(tmp_path / "nowhere")})
    assert said.returncode == 1
    assert f"{tmp_path}/nowhere/dots: no such file or directory; give --data DIR" in said.stderr


@pytest.mark.parametrize("split", ["train", "test"])
def test_infinite_loss_stops(split: str, build: Build, tmp_path: Path) -> None:
    """Steps that are far too large: the loss overflows in epoch 1, or, with one step an epoch, in the evaluation."""
    model = Linear(batch=8 if split == "train" else 64, epochs=50)
    saved = tmp_path / "weights.safetensors"
    said = run(build(model), "--data", Data.make(model).write(tmp_path / "data"), "--lr", "1000", "--save", saved)
    assert said.returncode == 1
    assert re.fullmatch(
        r"trainer: the loss is (inf|nan) (in epoch \d+, step \d+: training diverged"
        r"|among test samples 0 to \d+: the weights are too large or not numbers); use a smaller --lr\n",
        said.stderr,
    ), said.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.parametrize("gap_bytes", [(1 << 31) - 256, 1 << 31, (1 << 32) + 64])
def test_tensors_far_into_the_arena(gap_bytes: int, build: Build, trainer: Path, data: Path, tmp_path: Path) -> None:
    """Beyond 2 GB, where displacements end, and beyond 4 GB: the same bits. Memory that is not touched is none."""
    runs = []
    for name, each in (("near", trainer), ("far", build(Linear(gap_bytes=gap_bytes)))):
        saved, log = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.csv"
        said = run(each, "--data", data, "--save", saved, "--log", log, "--threads", 2)
        assert (said.returncode, said.stderr) == (0, "")
        times = {"seconds": "", "samples_per_s": "", "evaluated_per_s": ""}
        rows = [{**row, **times} for row in csv.DictReader(log.read_text().splitlines())]
        loaded = run(each, "--data", data, "--load", saved, "--eval")
        assert (loaded.returncode, last_line(loaded.stdout)) == (0, last_line(said.stdout))
        runs.append((saved.read_bytes(), rows, last_line(said.stdout)))
    assert runs[0] == runs[1]
