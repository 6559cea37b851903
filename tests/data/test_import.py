"""Class folders -> a data set: labels, split, rejects; the same bytes from folder or zip, with any workers."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pictures import BROKEN, encode, fill_folder, photo, zip_folder
from PIL import Image

from asmgen.data.idx import read_idx
from asmgen.data.importer import import_folder, import_idx
from asmgen.data.split import StratifiedSplit, shuffled
from asmgen.errors import DataError, UsageError

FILES = [
    "classes.json",
    "test-images-idx4-ubyte",
    "test-labels-idx1-ubyte",
    "train-images-idx4-ubyte",
    "train-labels-idx1-ubyte",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def images_by_label(out: Path) -> dict[int, set[bytes]]:
    """Every image of both splits, by its label."""
    found: dict[int, set[bytes]] = {}
    for split in ("train", "test"):
        images, labels = read_idx(out / f"{split}-images-idx4-ubyte"), read_idx(out / f"{split}-labels-idx1-ubyte")
        assert len(images) == len(labels)
        for image, label in zip(images, labels, strict=True):
            found.setdefault(int(label), set()).add(image.tobytes())
    return found


def test_every_image_arrives_once_with_its_label(tmp_path: Path) -> None:
    fill_folder(tmp_path / "in", {"dog": 20, "cat": 15, "an owl": 10})
    summary = import_folder(tmp_path / "in", tmp_path / "out", size=(8, 12), workers=1)
    assert sorted(contents(tmp_path / "out")) == FILES
    assert json.loads((tmp_path / "out" / "classes.json").read_bytes()) == ["an owl", "cat", "dog"]
    assert (summary.classes, summary.shape) == (("an owl", "cat", "dog"), (3, 8, 12))
    assert (summary.train, summary.test, summary.rejects) == ((8, 12, 16), (2, 3, 4), ())
    expected: dict[int, set[bytes]] = {}
    for label, name in enumerate(summary.classes):
        for file in (tmp_path / "in" / name).iterdir():
            pixels = np.asarray(Image.open(file).convert("RGB").resize((12, 8), Image.Resampling.BILINEAR))
            expected.setdefault(label, set()).add(pixels.transpose(2, 0, 1).tobytes())
    assert images_by_label(tmp_path / "out") == expected
    labels = read_idx(tmp_path / "out" / "train-labels-idx1-ubyte")
    assert not np.array_equal(labels, np.sort(labels)), "samples are mixed, not sorted by class"


def test_the_bytes_depend_on_content_only(tmp_path: Path) -> None:
    """Not on the number of workers, on folder or zip, on wrapping folders, or on the order in the archive."""
    fill_folder(tmp_path / "in", {"a": 60, "b": 45})
    (tmp_path / "in" / "a" / "bad.jpg").write_bytes(b"nothing")
    zip_folder(tmp_path / "in", tmp_path / "plain.zip")
    zip_folder(tmp_path / "in", tmp_path / "wrapped.zip", lambda path: f"set/Images\\{path}")
    results = []
    for index, (source, workers) in enumerate([("in", 1), ("in", 3), ("plain.zip", 1), ("wrapped.zip", 2)]):
        import_folder(tmp_path / source, tmp_path / f"out{index}", size=(16, 16), workers=workers, seed=5)
        results.append(contents(tmp_path / f"out{index}"))
        rejects = json.loads(results[-1].pop("rejects.json"))
        prefix = "set/Images/" if source == "wrapped.zip" else ""
        assert [reject["path"] for reject in rejects] == [f"{prefix}a/bad.jpg"]
    assert results.count(results[0]) == len(results)
    import_folder(tmp_path / "in", tmp_path / "other", size=(16, 16), workers=1, seed=6)
    other = contents(tmp_path / "other")
    assert other["train-images-idx4-ubyte"] != results[0]["train-images-idx4-ubyte"]
    assert images_by_label(tmp_path / "other") == images_by_label(tmp_path / "out0")


def test_rejects_carry_their_reason_and_stay_out(tmp_path: Path) -> None:
    root = tmp_path / "in"
    fill_folder(root, {"cat": 10, "dog": 10})
    for name, (data, _) in BROKEN.items():
        (root / "cat" / name).write_bytes(data)
    (root / "readme.txt").write_text("hello")
    (root / ".cache").mkdir()
    (root / ".cache" / "x.jpg").write_bytes(b"")
    (root / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "dog" / "pipe.jpg")
    (root / "dog" / "loop").symlink_to(root, target_is_directory=True)
    (root / "dog" / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    summary = import_folder(root, tmp_path / "out", size=(8, 8), workers=2, test_fraction=0.3)
    assert (summary.train, summary.test) == ((7, 7), (3, 3))
    listed = json.loads((tmp_path / "out" / "rejects.json").read_bytes())
    assert listed == [{"path": reject.path, "reason": reject.reason} for reject in summary.rejects]
    reasons = {reject.path: reject.reason for reject in summary.rejects}
    assert reasons.pop("readme.txt") == "in no class folder"
    assert reasons.pop("dog/gone.jpg") == "cannot read: No such file or directory"
    assert reasons.pop("dog/pipe.jpg") == "not a regular file"
    assert reasons.pop(os.fsdecode(b"dog/\xff.jpg")) == "empty file (0 bytes)"
    assert set(reasons) == {f"cat/{name}" for name in BROKEN}


def test_zip_members_that_do_not_unpack(tmp_path: Path) -> None:
    fill_folder(tmp_path / "in", {"a": 5, "b": 5})
    zip_folder(tmp_path / "in", tmp_path / "x.zip")
    picture = encode(photo(77))
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("__MACOSX/a/._0.png", b"metadata")
        archive.writestr("a/crc.png", picture)
        archive.writestr("b/locked.png", b"locked")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(picture) + 40] ^= 1
    data[data.rindex(b"b/locked.png") - 46 + 8] |= 1  # the "encrypted" bit of the central directory entry
    (tmp_path / "x.zip").write_bytes(data)
    summary = import_folder(tmp_path / "x.zip", tmp_path / "out", size=(8, 8), workers=1)
    assert [reject.path for reject in summary.rejects] == ["a/crc.png", "b/locked.png"]
    assert "Bad CRC-32" in summary.rejects[0].reason
    assert "encrypted" in summary.rejects[1].reason
    assert (summary.train, summary.test) == ((4, 4), (1, 1))


def test_gray(tmp_path: Path) -> None:
    fill_folder(tmp_path / "in", {"a": 5, "b": 5})
    assert import_folder(tmp_path / "in", tmp_path / "out", size=(8, 9), gray=True, workers=1).shape == (1, 8, 9)
    assert read_idx(tmp_path / "out" / "train-images-idx4-ubyte").shape == (8, 1, 8, 9)


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    root = tmp_path / "in"
    cases = []
    with pytest.raises(DataError, match="does not exist; give a folder"):
        import_folder(root, tmp_path / "out")
    fill_folder(root, {"train/cat": 1, "train/dog": 1, "test/cat": 1, "test/dog": 1})
    with pytest.raises(DataError, match="folders test, train are a ready-made split, not classes"):
        import_folder(root, tmp_path / "out")
    cases = [
        ({"only": 3}, r"1 class folders \('only'\) found, 2\.\.256 needed"),
        ({"full": 2, "hollow": 0}, "class folder 'hollow' is empty; remove it or put images into it"),
        ({f"{index:03}": 0 for index in range(257)}, r"257 class folders found, 2\.\.256 needed"),
        ({"a": 1, "b": 1}, "2 samples leave none for test; change the test fraction or add samples"),
    ]
    for index, (folders, message) in enumerate(cases):
        fill_folder(tmp_path / f"case{index}", folders)
        with pytest.raises(DataError, match=message):
            import_folder(tmp_path / f"case{index}", tmp_path / "out", workers=1)
    fill_folder(tmp_path / "junk", {"a": 4, "b/deep": 0})
    (tmp_path / "junk" / "b" / "deep" / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"class 'b' has no usable image: .*b/deep/x.jpg: empty file.*; remove"):
        import_folder(tmp_path / "junk", tmp_path / "out", workers=1)
    fill_folder(tmp_path / "latin", {"a": 4, os.fsdecode(b"fl\xfcgel"): 4})
    with pytest.raises(DataError, match=r"the name of class folder b'fl\\xfcgel' is not UTF-8; rename it$"):
        import_folder(tmp_path / "latin", tmp_path / "out")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="is neither a folder nor a zip archive"):
        import_folder(tmp_path / "text", tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize(("fraction", "counts"), [(0.2, (1000, 37, 3)), (1 / 7, (700, 100)), (0.999, (10,))])
def test_split_is_exact_in_every_class(fraction: float, counts: tuple[int, ...]) -> None:
    split = StratifiedSplit(fraction, len(counts))
    items = [(label, index) for label, count in enumerate(counts) for index in range(count)]
    tests = [label for label, index in shuffled(items, 3, str) if split.is_test(label)]
    for label, count in enumerate(counts):
        assert abs(tests.count(label) - count * fraction) <= 0.5


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_split_needs_a_fraction(fraction: float) -> None:
    with pytest.raises(UsageError, match="must be between 0 and 1"):
        StratifiedSplit(fraction, 2)


def test_order_is_pinned() -> None:
    """The order is part of what a seed means: it must never change between versions."""
    assert shuffled("abcdefgh", 0, str) == list("fdaebghc")


def test_real_photos(tmp_path: Path, real_data: Path) -> None:
    """The damaged and odd files of the real archive: exactly the broken ones are rejected."""
    archive = real_data / "PetImages.zip"
    if not archive.exists():
        pytest.skip(f"no {archive}")
    summary = import_folder(archive, tmp_path / "out", size=(16, 16))
    assert summary.classes == ("Cat", "Dog")
    assert (summary.train, summary.test) == ((3202, 3202), (800, 800))
    assert {reject.path.removeprefix("PetImages/"): reject.reason.split(":")[0][:12] for reject in summary.rejects} == {
        "Cat/4000.jpg": "empty file (",
        "Cat/Thumbs.db": "not an image",
        "Dog/4000.jpg": "broken image",
        "Dog/4003.jpg": "broken image",
        "Dog/Thumbs.db": "not an image",
    }


def test_real_mnist(tmp_path: Path, real_data: Path) -> None:
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no {real_data / 'mnist'}")
    summary = import_idx(real_data / "mnist", tmp_path / "out")
    assert (sum(summary.train), sum(summary.test), summary.shape) == (60_000, 10_000, (28, 28))
    assert (tmp_path / "out" / "train-images-idx3-ubyte").stat().st_size == 47_040_016
    assert read_idx(tmp_path / "out" / "t10k-labels-idx1-ubyte")[:5].tolist() == [7, 2, 1, 0, 4]
