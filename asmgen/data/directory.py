"""A data set directory (or a folder of gzipped IDX files), read and checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asmgen.data.dataset import Summary
from asmgen.data.idx import read_idx
from asmgen.errors import DataError

# MNIST's names, also with the dot that some of its copies have; `.gz` or not.
_IDX_NAME = re.compile(r"(train|test|t10k)-(images|labels)[-.]idx(\d+)-ubyte(\.gz)?")


@dataclass(frozen=True)
class Split:
    """One split: `images` ubyte `[n][...]` and `labels` ubyte `[n]`, with the files they come from."""

    images_path: Path
    labels_path: Path
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def counts(self, n_classes: int) -> tuple[int, ...]:
        """Samples per class."""
        return tuple(int(count) for count in np.bincount(self.labels, minlength=n_classes))


@dataclass(frozen=True)
class DataDirectory:
    """A checked data set; `splits` has "train" and either "test" or "t10k", in that order."""

    path: Path
    classes: tuple[str, ...]
    splits: dict[str, Split]

    @property
    def item_shape(self) -> tuple[int, ...]:
        return self.splits["train"].images.shape[1:]

    def summary(self) -> Summary:
        train, test = (split.counts(len(self.classes)) for split in self.splits.values())
        return Summary(self.path, self.classes, self.item_shape, train, test)


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The input (c, h, w) that images of `shape` fit, as leading ones are free; longer than 3 where none does."""
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    return (1,) * (3 - len(shape)) + shape


def has_idx(path: Path) -> bool:
    """Whether `path` is a directory with IDX files in it, judged by their names."""
    return bool(_find(path))


def read_directory(path: Path) -> DataDirectory:
    """Read `path`; plain files are mapped, gzipped ones unpacked into memory.

    Without `classes.json` the classes are "0", "1", ... Raises DataError for a missing, broken or mismatched file.
    """
    if not path.is_dir():
        raise DataError(
            f"{path}: {'is not a folder' if path.exists() else 'does not exist'}; give a data set directory"
        )
    files = _find(path)
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            if (split, kind) not in files:
                raise DataError(
                    f"{path}: no {split}-{kind}-idx*-ubyte[.gz]; a data set has images and labels, train and test"
                )
    test = files["test", "images"].name.partition("-")[0]
    splits = {
        prefix: _read_split(files[split, "images"], files[split, "labels"])
        for prefix, split in (("train", "train"), (test, "test"))
    }
    train_shape, test_shape = (split.images.shape[1:] for split in splits.values())
    if image_shape(train_shape) != image_shape(test_shape):
        raise DataError(
            f"{path}: {test} images are {_by(test_shape)}, train images are {_by(train_shape)}; they must agree"
        )
    return DataDirectory(path, _class_names(path, splits), splits)


def _find(path: Path) -> dict[tuple[str, str], Path]:
    """The IDX files in a directory by ("train" or "test", "images" or "labels"); of each kind there is one."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        if match := _IDX_NAME.fullmatch(file.name):
            key = ("train" if match[1] == "train" else "test", match[2])
            if key in found:
                raise DataError(f"{path}: both {found[key].name} and {file.name} hold the {' '.join(key)}; remove one")
            found[key] = file
    return found


def _read_split(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path, mmap=True), read_idx(labels_path)
    for path, array, ranks in ((images_path, images, range(2, 33)), (labels_path, labels, range(1, 2))):
        if array.dtype != np.uint8 or array.ndim not in ranks:
            expected = "rank 1" if ranks == range(1, 2) else "rank 2 or more"
            raise DataError(f"{path}: rank {array.ndim} of {array.dtype.name}, expected {expected} of uint8")
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: {len(labels)} labels for {len(images)} images in {images_path.name}")
    if not images.size:
        raise DataError(f"{images_path}: {_by(images.shape)} holds no samples")
    return Split(images_path, labels_path, images, labels)


def _class_names(path: Path, splits: dict[str, Split]) -> tuple[str, ...]:
    file = path / "classes.json"
    if not file.exists():
        return tuple(str(label) for label in range(1 + max(int(split.labels.max()) for split in splits.values())))
    try:
        names = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot read: {error}") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DataError(f"{file}: must be a list of class names")
    for split in splits.values():
        if split.labels.max() >= len(names):
            at = int(np.argmax(split.labels >= len(names)))
            label = split.labels[at]
            raise DataError(
                f"{split.labels_path}: sample {at} has label {label}, classes.json names {len(names)} classes"
            )
    return tuple(names)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
