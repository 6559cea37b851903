"""Data sets that are not what the model needs: each gets its line, exit code 1, and nothing else."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from asmgen.emit.trainer_model import Split
from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, run, write_idx

IMAGES = "train-images-idx4-ubyte"
LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "test-images-idx4-ubyte"
TEST_LABELS = "test-labels-idx1-ubyte"
MAKE = "make the data with `asmgen data`, or give --data DIR"
UBYTES = "not an IDX file of unsigned bytes (0x00000801 to 0x00000820)"
TAKES = "but linear takes [n, 1, 2, 3] (n, channels, height, width; leading ones behind n are free)"


def keep(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def images(name: str, *shape: int, magic: int | None = None) -> Callable[[Path], None]:
    size = 1
    for extent in shape:
        size *= extent
    return lambda folder: write_idx(folder / name, shape, bytes(size), magic)


def copy(name: str, other: str) -> Callable[[Path], None]:
    return lambda folder: (folder / other).write_bytes((folder / name).read_bytes()) and None


def compress(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()

    return change


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no directory": (lambda folder: folder.rename(f"{folder}.gone") and None,
        "cannot open the data directory {0}: no such file or directory; "
        "give --data DIR; `asmgen data` makes one (fetch mnist, synth, import)"),
    "images missing": (lambda folder: (folder / IMAGES).unlink(),
        "{0} has no train-images-idxR-ubyte (R: 2 to 5); " + MAKE),
    "labels missing": (lambda folder: (folder / LABELS).unlink(),
        "{0} has no train-labels-idx1-ubyte; " + MAKE),
    "test images missing": (lambda folder: (folder / TEST_IMAGES).rename(folder / "test-images-idx6-ubyte") and None,
        "{0} has no test-images-idxR-ubyte or t10k-images-idxR-ubyte (R: 2 to 5); " + MAKE),
    "test labels missing": (lambda folder: (folder / TEST_LABELS).unlink(),
        "{0} has no test-labels-idx1-ubyte or t10k-labels-idx1-ubyte; " + MAKE),
    "two ranks": (copy(IMAGES, "train-images-idx2-ubyte"),
        "{0} has both train-images-idx2-ubyte and train-images-idx4-ubyte: remove one"),
    "two ranks of test": (copy(TEST_IMAGES, "t10k-images-idx3-ubyte"),
        "{0} has both test-images-idx4-ubyte and t10k-images-idx3-ubyte: remove one"),
    "two test labels": (copy(TEST_LABELS, "t10k-labels-idx1-ubyte"),
        "{0} has both test-labels-idx1-ubyte and t10k-labels-idx1-ubyte: remove one"),
    "only compressed": (compress(IMAGES),
        "{0}/train-images-idx4-ubyte.gz is compressed: unpack it (gunzip), or run `asmgen data import`"),
    "compressed inside": (keep(IMAGES, gzip.compress),
        "{images} is compressed with gzip: unpack it (gunzip), or run `asmgen data import`"),
    "empty": (keep(IMAGES, lambda _: b""), "{images} has 0 bytes: too short for an IDX file, it is truncated"),
    "header cut": (keep(IMAGES, lambda content: content[:19]),
        "{images} has 19 bytes: too short for an IDX file, it is truncated"),
    "image cut": (keep(IMAGES, lambda content: content[:-1]),
        "{images} has 289 bytes, but its header announces 290: it is truncated"),
    "label cut": (keep(LABELS, lambda content: content[:-2]),
        "{labels} has 51 bytes, but its header announces 53: it is truncated"),
    "too long": (keep(TEST_IMAGES, lambda content: content + b"x"),
        "{test_images} has 147 bytes, but its header announces 146: they must be equal"),
    "size overflows": (keep(IMAGES, lambda content: content[:4] + b"\xff" * 16),
        "{images} has 20 bytes, but its header announces 2^64 or more: it is truncated"),
    "wrong magic": (keep(IMAGES, lambda content: b"PNG!" + content[4:]),
        "{images} starts with 0x504e4721: " + UBYTES),
    "rank 0": (keep(IMAGES, lambda content: b"\0\0\x08\0" + content[4:]),
        "{images} starts with 0x00000800: " + UBYTES),
    "rank 33": (keep(IMAGES, lambda content: b"\0\0\x08\x21" + content[4:]),
        "{images} starts with 0x00000821: " + UBYTES),
    "floats": (images(IMAGES, 45, 1, 2, 3, magic=0x0D04),
        "{images} starts with 0x00000d04: " + UBYTES),
    "rank of images": (images(IMAGES, 45), "{images} has rank 1: images have rank 2 or more"),
    "flat images": (images(IMAGES, 45, 6), "{images} has shape [45, 6], " + TAKES),
    "rank of labels": (images(LABELS, 45, 1), "{labels} has rank 2: labels have rank 1"),
    "image size": (images(IMAGES, 45, 1, 3, 2),
        "{images} has shape [45, 1, 3, 2], " + TAKES),
    "channels": (images(IMAGES, 45, 3, 2, 3),
        "{images} has shape [45, 3, 2, 3], " + TAKES),
    "test image size": (images(TEST_IMAGES, 21, 28, 28),
        "{test_images} has shape [21, 28, 28], " + TAKES),
    "trailing one": (images(IMAGES, 45, 2, 3, 1), "{images} has shape [45, 2, 3, 1], " + TAKES),
    "no images": (images(IMAGES, 0, 1, 2, 3), "{images} holds no images"),
    "counts differ": (images(LABELS, 44),
        "{labels} holds 44 labels, but {images} holds 45 images: they must be equal"),
    "label out of range": (keep(LABELS, lambda content: content[:-3] + b"\x03" + content[-2:]),
        "{labels}: label 3 of sample 42 is not a class of linear, whose classes are 0 to 2"),
    "a directory": (lambda folder: (folder / IMAGES).unlink() or (folder / IMAGES).mkdir(),
        "cannot read {images}: is a directory"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES.keys())
def test_wrong_data(change: Callable[[Path], None], message: str, trainer: Path, tmp_path: Path) -> None:
    folder = Data.make(Linear()).write(tmp_path / "data")
    change(folder)
    said = run(trainer, "--data", folder, "--save", tmp_path / "w.safetensors")
    files = {"images": folder / IMAGES, "labels": folder / LABELS, "test_images": folder / TEST_IMAGES}
    expected = message.format(folder, **files)
    assert (said.returncode, said.stdout, said.stderr) == (1, "", f"trainer: {expected}\n")
    assert not list(tmp_path.glob("w.*"))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split("train", 40, 46), "samples 40 to 46 (exclusive) of linear do not exist: the train images in {0} are 45"),
        (Split("test", 21, -1), "samples 21 to 21 (exclusive) of linear do not exist: the test images in {0} are 21"),
        (Split("train", 0, -1), "samples of linear are all 45 training images in {0}: none is left to train on"),
    ],
    ids=["beyond the end", "empty", "everything"],
)
def test_wrong_validation(split: Split, message: str, build: Build, data: Path) -> None:
    said = run(build(Linear(validation=split)), "--data", data)
    assert (said.returncode, said.stderr) == (1, f"trainer: the validation {message.format(data)}\n")


def test_path_that_is_too_long(trainer: Path) -> None:
    said = run(trainer, "--data", "d" * 100_000)
    assert said.returncode == 1
    assert re.search(r"d{4000,}: path is too long", said.stderr)
