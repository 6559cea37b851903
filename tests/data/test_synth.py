"""Drawn data sets: deterministic, balanced, and something that can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asmgen.data.directory import read_directory
from asmgen.data.synthesis import KINDS, synth
from asmgen.errors import UsageError


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(("kind", "shape"), [("catdog", (3, 32, 32)), ("digits", (32, 32))])
def test_bytes_depend_on_the_seed_only(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    sets = []
    for index, (seed, workers) in enumerate([(2**40 + 1, 1), (2**40 + 1, 3), (1, 1)]):
        summary = synth(kind, tmp_path / str(index), count=50, size=32, seed=seed, workers=workers, test_fraction=0.4)
        assert summary.shape == shape
        assert set(summary.train) == {30 // len(summary.classes)}
        assert set(summary.test) == {20 // len(summary.classes)}
        sets.append(contents(tmp_path / str(index)))
    assert sets[0] == sets[1]
    images = next(name for name in sets[0] if name.startswith("train-images"))
    assert sets[0][images] != sets[2][images]


def test_names_are_those_of_the_real_sets(tmp_path: Path) -> None:
    synth("catdog", tmp_path / "c", count=10, size=16, workers=1)
    synth("digits", tmp_path / "d", count=70, workers=1)
    assert {name.split("-ubyte")[0] for name in contents(tmp_path / "c")} == {
        "classes.json", "train-images-idx4", "train-labels-idx1", "test-images-idx4", "test-labels-idx1"
    }  # fmt: skip
    assert {name.split("-ubyte")[0] for name in contents(tmp_path / "d")} == {
        "classes.json", "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"
    }  # fmt: skip


def test_no_two_pictures_are_alike(tmp_path: Path) -> None:
    for kind in KINDS:
        synth(kind, tmp_path / kind, count=200, size=28, workers=1)
        images = np.concatenate([split.images for split in read_directory(tmp_path / kind).splits.values()])
        assert len(np.unique(images.reshape(200, -1), axis=0)) == 200


def test_digits_are_told_apart_by_their_nearest_class_mean(tmp_path: Path) -> None:
    """The crudest classifier there is gets most of them; a swapped or unreadable glyph would not pass."""
    synth("digits", tmp_path / "d", count=2_000, test_fraction=0.25, workers=1)
    train, test = read_directory(tmp_path / "d").splits.values()
    means = np.stack([train.images[train.labels == digit].mean(axis=0) for digit in range(10)])
    distance = ((test.images[:, None].astype(float) - means) ** 2).sum(axis=(2, 3))
    right = distance.argmin(axis=1) == test.labels
    assert right.mean() > 0.8
    assert min(right[test.labels == digit].mean() for digit in range(10)) > 0.5


def test_cats_and_dogs_differ_in_shape_and_not_in_colour(tmp_path: Path) -> None:
    """No linear rule on the mean and spread of the colours separates them: a network has to look at the animal."""
    synth("catdog", tmp_path / "c", count=800, size=32, test_fraction=0.5, workers=1)
    train, test = read_directory(tmp_path / "c").splits.values()

    def features(images: np.ndarray) -> np.ndarray:
        pixels = images.astype(float) / 255
        return np.concatenate([pixels.mean((2, 3)), pixels.std((2, 3)), np.ones((len(images), 1))], axis=1)

    weights = np.linalg.lstsq(features(train.images), train.labels * 2.0 - 1, rcond=None)[0]
    assert ((features(test.images) @ weights > 0) == test.labels).mean() < 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "birds"}, "cannot draw 'birds'; choose from catdog, digits"),
        ({"count": 3}, r"count 3 is outside 4\.\.10000000"),
        ({"size": 7}, r"size 7 is outside 8\.\.1024"),
        ({"seed": -1}, r"seed -1 is outside 0\.\."),
        ({"test_fraction": 1.5}, "test fraction 1.5 must be between 0 and 1"),
    ],
)
def test_what_cannot_be_drawn(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        synth(**{"kind": "catdog", "out": tmp_path / "out", **options})
    assert not list(tmp_path.iterdir())
