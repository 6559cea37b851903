"""Reading a data set directory: what is checked, what `info` tells, and the `data` commands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pictures import fill_folder
from PIL import Image

from asmgen.cli.main import main
from asmgen.data.directory import image_shape
from asmgen.data.idx import write_idx
from asmgen.data.importer import import_idx
from asmgen.data.info import describe, write_sheet
from asmgen.errors import DataError


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, args)])


def make(folder: Path, shape: tuple[int, ...] = (3, 4, 5), **replaced: np.ndarray) -> Path:
    """A data set of 8 train and 4 test samples of 2 classes; `train_images=array` replaces a file."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        images = random.integers(0, 256, (count, *shape), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 2
        write_idx(folder / f"{split}-images-idx{len(shape) + 1}-ubyte", replaced.get(f"{split}_images", images))
        write_idx(folder / f"{split}-labels-idx1-ubyte", replaced.get(f"{split}_labels", labels))
    return folder


BAD = {
    "counts": ({"train_labels": np.zeros(7, np.uint8)}, "train-labels-idx1-ubyte: 7 labels for 8 images"),
    "shapes": (
        {"test_images": np.zeros((4, 3, 4, 4), np.uint8)},
        "test images are 3x4x4, train images are 3x4x5; they must agree",
    ),
    "type": ({"test_images": np.zeros((4, 3, 4, 5), np.int16)}, "rank 4 of int16, expected rank 2 or more of uint8"),
    "labels": ({"test_labels": np.zeros((4, 1), np.uint8)}, "rank 2 of uint8, expected rank 1 of uint8"),
    "label": ({"test_labels": np.array([0, 1, 2, 1], np.uint8)}, "sample 2 has label 2, classes.json names 2 classes"),
    "empty": (
        {"test_images": np.zeros((0, 3, 4, 5), np.uint8), "test_labels": np.zeros(0, np.uint8)},
        "0x3x4x5 holds no samples",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mismatched_files(tmp_path: Path, case: str) -> None:
    replaced, message = BAD[case]
    make(tmp_path / "set", **replaced)
    (tmp_path / "set" / "classes.json").write_text('["a", "b"]')
    with pytest.raises(DataError, match=message):
        describe(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        import_idx(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_and_doubled_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    (folder / "train-images.idx4-ubyte").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"both train-images-idx4-ubyte and train-images.idx4-ubyte hold the train images"
    ):
        describe(folder)
    (folder / "train-images.idx4-ubyte").unlink()
    (folder / "classes.json").write_text("{}")
    with pytest.raises(DataError, match=r"classes.json: must be a list of class names"):
        describe(folder)
    (folder / "test-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no test-labels-idx\*-ubyte"):
        describe(folder)
    with pytest.raises(DataError, match=r"none: does not exist"):
        describe(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "second", "what"),
    [
        ("train-images-idx4-ubyte", "train-images-idx5-ubyte", "train images"),
        ("test-images-idx4-ubyte", "t10k-images-idx3-ubyte", "test images"),
        ("test-labels-idx1-ubyte", "t10k-labels-idx1-ubyte", "test labels"),
    ],
)
def test_two_files_where_one_is_read(tmp_path: Path, name: str, second: str, what: str) -> None:
    """As the trainer has it."""
    folder = make(tmp_path / "set")
    (folder / second).write_bytes((folder / name).read_bytes())
    with pytest.raises(DataError, match=f"both {' and '.join(sorted((name, second)))} hold the {what}; remove one"):
        describe(folder)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7,), (1, 1, 7)),
        ((4, 5), (1, 4, 5)),
        ((3, 4, 5), (3, 4, 5)),
        ((1, 1, 1, 5), (1, 1, 5)),
        ((1, 1, 3, 4, 5), (3, 4, 5)),
        ((2, 1, 4, 5), (2, 1, 4, 5)),
        ((1, 2, 1, 4, 5), (2, 1, 4, 5)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_image_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """tests/runtime/test_image_shapes.py compares it with the trainer's."""
    assert image_shape(shape) == expected


def test_leading_ones_change_nothing(tmp_path: Path) -> None:
    """The rank of train and that of test may differ, as for the trainer; statistics and sheet are the same."""
    told = []
    for ones in ((), (1,), (1, 1)):
        folder = make(tmp_path / str(len(ones)), shape=(*ones, 3, 4, 5))
        if ones:
            (folder / "test-images-idx4-ubyte").write_bytes((tmp_path / "0" / "test-images-idx4-ubyte").read_bytes())
            (folder / f"test-images-idx{4 + len(ones)}-ubyte").unlink()
        write_sheet(folder, tmp_path / "sheet.png")
        description = describe(folder)
        told.append((description.mean, description.std, (tmp_path / "sheet.png").read_bytes()))
        assert len(description.mean) == 3
        import_idx(folder, tmp_path / f"imported{len(ones)}")
        assert describe(tmp_path / f"imported{len(ones)}").mean == description.mean
    assert told[0] == told[1] == told[2]


def test_import_of_gzipped_and_dotted_names(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", shape=(4, 5))
    for file in list(folder.iterdir()):
        name = file.name.replace("test-", "t10k-").replace("-idx", ".idx")
        (folder / f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.rename(tmp_path / file.name)
    summary = import_idx(folder, tmp_path / "out")
    assert (summary.train, summary.test, summary.shape) == ((4, 4), (2, 2), (4, 5))
    for file in (tmp_path / "out").glob("*-ubyte"):
        assert file.read_bytes() == (tmp_path / file.name.replace("t10k", "test")).read_bytes()
    assert json.loads((tmp_path / "out" / "classes.json").read_bytes()) == ["0", "1"]


def test_info(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    (folder / "classes.json").write_text('["cat", "dog"]')
    images = np.fromfile(folder / "train-images-idx4-ubyte", np.uint8)[20:].reshape(8, 3, 4, 5) / 255
    told = json.loads(run("info", folder, "--json").stdout)
    assert told["files"][0] == {"name": "train-images-idx4-ubyte", "shape": [8, 3, 4, 5], "bytes": 20 + 480}
    assert (told["classes"], told["counts"]) == (["cat", "dog"], {"train": [4, 4], "test": [2, 2]})
    np.testing.assert_allclose(told["mean"], images.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(told["std"], images.std((0, 2, 3)), rtol=1e-12)
    lines = run("info", folder).stdout.splitlines()
    assert lines[1].split() == ["train-images-idx4-ubyte", "8x3x4x5", "500"]
    assert ["dog", "4", "2"] in [line.split() for line in lines]
    assert len({len(line) for line in lines[:5]}) == 1, "columns are aligned"


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (4, 5), (1, 1, 4, 5)])
def test_sheet(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = make(tmp_path / "set", shape=shape)
    write_sheet(folder, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (13 * 4 + 2), 10 * (13 * 5 + 2), 3)
    first = np.fromfile(next(folder.glob("train-images*")), np.uint8)[4 * (len(shape) + 2) :][: int(np.prod(shape))]
    np.testing.assert_array_equal(sheet[1, 1], first.reshape(-1, 20)[:, 0] * np.ones(3, np.uint8))


def test_sheet_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"samples of shape 7 are no pictures"):
        write_sheet(make(tmp_path / "set", shape=(7,)), tmp_path / "sheet.png")


def test_import_command(tmp_path: Path) -> None:
    fill_folder(tmp_path / "in", {"cat": 10, "dog": 5})
    for index in range(4):
        (tmp_path / "in" / "dog" / f"bad{index}.jpg").write_bytes(b"")
    (tmp_path / "in" / "dog" / "x.txt").write_text("hi")
    args = ("import", tmp_path / "in", "--size", "6x8", "--gray", "--workers", 1, "-o", tmp_path / "out")
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"12 train and 3 test samples of 1x6x8 in {tmp_path}/out",
        "2 classes (train+test): cat 8+2, dog 4+1",
        f"5 files rejected, see {tmp_path}/out/rejects.json:",
        "  4 empty file: dog/bad0.jpg, dog/bad1.jpg, dog/bad2.jpg, ...",
        "  1 not an image: dog/x.txt",
    ]
    again = run(*args)
    assert again.exit_code == 1
    assert again.output.endswith("replace it with --force\n")
    assert run(*args, "--force").exit_code == 0


def test_wrong_use(tmp_path: Path) -> None:
    make(tmp_path / "idx")
    out = ("-o", tmp_path / "out")
    for args, message in [
        (("import", tmp_path / "idx", "--size", "64", *out), "--size is for images; "),
        (("import", tmp_path, "--size", "0", *out), "'0' is not N or HEIGHTxWIDTH with sides of 1..4096"),
        (("import", tmp_path, "--size", "12x", *out), "'12x' is not N or HEIGHTxWIDTH"),
        (("import", tmp_path), "Missing option '-o'"),
        (("import", "", *out), "Invalid value for 'PATH': the path is empty"),
        (("import", tmp_path, "-o", ""), "Invalid value for '-o' / '--out': the path is empty"),
        (("synth", "catdog", "--count", "1", *out), "count 1 is outside 4..10000000"),
        (("fetch", "mnist", "--mirror", "ftp://x", *out), "'ftp://x' is not an http or https URL"),
    ]:
        result = run(*args)
        assert result.exit_code == 2, result.output
        assert message in result.output
        assert result.output.count("\n") == 1


def test_default_output_is_where_the_trainer_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASMGEN_DATA", str(tmp_path / "sets"))
    assert run("synth", "catdog", "--count", 10, "--size", 8, "--workers", 1).exit_code == 0
    assert (tmp_path / "sets" / "catdog" / "train-images-idx4-ubyte").exists()
    monkeypatch.delenv("ASMGEN_DATA")
    assert run("synth", "digits", "--count", 70, "--workers", 1).exit_code == 0
    assert (tmp_path / "data" / "digits" / "t10k-images-idx3-ubyte").exists()
