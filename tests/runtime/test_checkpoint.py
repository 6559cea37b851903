"""--save and --load: safetensors that the Python package writes and reads, and files that must be refused."""

from __future__ import annotations

import json
import os
import re
import resource
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, run

MODEL = Linear()
Tensors = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def tensors() -> Tensors:
    source = np.random.default_rng(1)
    return {
        "1.weight": source.normal(size=(MODEL.outputs, MODEL.inputs)).astype(np.float32),
        "1.bias": source.normal(size=MODEL.outputs).astype(np.float32),
    }


def container(header: str, content: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header.encode() + content


def round_trip(trainer: Path, data: Path, source: Path) -> Tensors:
    """What the trainer saves after it loaded `source`."""
    saved = source.with_name("again.safetensors")
    said = run(trainer, "--data", data, "--load", source, "--eval", "--save", saved)
    assert (said.returncode, said.stderr) == (0, "")
    return load_file(saved)


def test_the_file_is_a_valid_one(trainer: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "weights.safetensors"
    run(trainer, "--data", data, "--save", saved)
    with safe_open(saved, "numpy") as file:
        assert set(file.keys()) == {"1.weight", "1.bias"}
        assert file.metadata() == {"format": "pt"}
        assert file.get_slice("1.weight").get_shape() == [3, 6]
        assert file.get_slice("1.weight").get_dtype() == "F32"
    (header_bytes,) = struct.unpack("<Q", saved.read_bytes()[:8])
    assert header_bytes % 8 == 0
    assert os.listdir(tmp_path) == ["weights.safetensors"]
    assert saved.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_load_what_python_saved(dtype: str, tensors: Tensors, build: Build, data: Path, tmp_path: Path) -> None:
    tensors = {name: values.astype(dtype) for name, values in tensors.items()}
    source = tmp_path / "weights.safetensors"
    save_file(tensors, source, {"note": 'a "quoted" {note} \\ é'})
    again = round_trip(build(Linear(dtype=dtype)), data, source)
    assert {name: values.tobytes() for name, values in again.items()} == {
        name: values.tobytes() for name, values in tensors.items()
    }


def test_loaded_weights_are_the_ones_that_compute(tensors: Tensors, trainer: Path, data: Path, tmp_path: Path) -> None:
    source = tmp_path / "weights.safetensors"
    save_file(tensors, source)
    images, labels = Data.make(MODEL).splits["test"]
    _, predictions, _ = MODEL.forward(tensors["1.weight"], tensors["1.bias"], images, labels)
    right = int((predictions == labels).sum())
    said = run(trainer, "--data", data, "--load", source, "--eval")
    assert said.stdout.splitlines()[-1].endswith(f"({right}/21)")


def test_any_valid_header(tensors: Tensors, trainer: Path, data: Path, tmp_path: Path) -> None:
    """Another order, white space, escapes, keys that nobody knows."""
    header = (
        ' {\n\t"1.bi\\u0061s" : {"shape" : [ 3 ] , "data_offsets":[0 , 12],"dtype":"F32", '
        '"x": [1, {"y": null}], "z": -1.5e3},\r\n'
        '"__metadata__": {"a": "]}\\"", "b": "c"},'
        '"1.weight":{"dtype":"F32","shape":[3,6],"data_offsets":[12,84]} }   '
    )
    source = tmp_path / "weights.safetensors"
    source.write_bytes(container(header, tensors["1.bias"].tobytes() + tensors["1.weight"].tobytes()))
    again = round_trip(trainer, data, source)
    assert again["1.bias"].tobytes() == tensors["1.bias"].tobytes()
    assert again["1.weight"].tobytes() == tensors["1.weight"].tobytes()


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header(**changes: object) -> str:
    """Of the linear model; `_weight` and `_bias` replace an entry, None drops it, other names add one."""
    tensors: dict[str, object] = {"1.weight": entry([3, 6], 0, 72), "1.bias": entry([3], 72, 84)}
    tensors |= {name.replace("_", "1.", 1): value for name, value in changes.items()}
    return json.dumps({name: value for name, value in tensors.items() if value}, separators=(",", ":"))


def changed(content_bytes: int = 84, **changes: object) -> bytes:
    return container(header(**changes), bytes(content_bytes))


GOOD = header()
BAD_HEADER = "{0}: the header is not that of a safetensors file, near byte "
BAD_PLACE = " of the data: tensors overlap, or there is a gap"
BAD_SIZE = ": not a safetensors file, or truncated"
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "{0} has 0 bytes" + BAD_SIZE),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100),
        "{0} has 108 bytes, but its header announces 727905341920923785" + BAD_SIZE),
    "header cut": (container(GOOD, b"")[:-1],
        f"{{0}} has {len(GOOD) + 7} bytes, but its header announces {len(GOOD)}" + BAD_SIZE),
    "data cut": (changed(83), "{0} is truncated: tensor 1.bias ends at byte 84 of the data, which has 83"),
    "not JSON": (container("[1]", b""), BAD_HEADER + "8"),
    "JSON ends": (container(GOOD[:-1], bytes(84)), BAD_HEADER + str(len(GOOD) + 7)),
    "bad offsets": (container(GOOD.replace("[72,84]", "[-72,84]"), bytes(84)),
        BAD_HEADER + str(GOOD.index("72,84") + 8)),
    "no dtype": (container('{"1.bias":{"shape":[3],"data_offsets":[0,12]}}', bytes(12)), BAD_HEADER + "53"),
    "other model": (changed(_other=entry([3], 0, 12)),
        "{0}: tensor 1.other is not one of linear: these are the weights of another model"),
    "missing": (changed(_bias=None), "{0} has no tensor 1.bias, which linear needs"),
    "none at all": (container("{}", b""), "{0} has no tensor 1.weight, which linear needs"),
    "shape": (changed(_weight=entry([6, 3], 0, 72)),
        "{0}: tensor 1.weight has shape [6, 3], but in linear it has [3, 6]"),
    "rank": (changed(_weight=entry([18], 0, 72)), "{0}: tensor 1.weight has shape [18], but in linear it has [3, 6]"),
    "scalar": (changed(_bias=entry([], 0, 4)), "{0}: tensor 1.bias has shape [], but in linear it has [3]"),
    "dtype": (changed(_bias=entry([3], 72, 84, "I32")), "{0}: tensor 1.bias is I32, but linear needs F32"),
    "size": (changed(_bias=entry([3], 72, 80)), "{0}: tensor 1.bias has 8 bytes of data, but its shape needs 12"),
    "backwards": (changed(_bias=entry([3], 84, 72)),
        "{0}: tensor 1.bias begins at byte 84 of the data, but ends before that, at byte 72"),
    "overlap": (changed(_bias=entry([3], 60, 72)), "{0}: no tensor begins at byte 72" + BAD_PLACE),
    "gap": (changed(88, _bias=entry([3], 76, 88)), "{0}: no tensor begins at byte 72" + BAD_PLACE),
    "late": (changed(88, _weight=entry([3, 6], 4, 76), _bias=entry([3], 76, 88)),
        "{0}: no tensor begins at byte 0" + BAD_PLACE),
    "trailing bytes": (changed(85),
        "{0} has 85 bytes of data, but its tensors end at byte 84: not a safetensors file, or something follows"),
    "twice": (container(GOOD[:-1] + "," + GOOD[1:], bytes(84)), "{0}: tensor 1.weight appears twice"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_file(content: bytes, message: str, trainer: Path, data: Path, tmp_path: Path) -> None:
    source = tmp_path / "weights.safetensors"
    source.write_bytes(content)
    said = run(trainer, "--data", data, "--load", source, "--save", tmp_path / "out")
    assert (said.returncode, said.stdout, said.stderr) == (1, "", f"trainer: {message.format(source)}\n")
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_no_header_can_crash_it(tensors: Tensors, trainer: Path, data: Path, tmp_path: Path) -> None:
    """Bytes of a good file changed at random: it loads or it is refused in one line."""
    source = tmp_path / "weights.safetensors"
    save_file(tensors, source)
    good = source.read_bytes()
    chance = np.random.default_rng(7)
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(chance.integers(1, 4)):
            broken[chance.integers(0, 200)] = chance.choice([*b'{}[]",:\\u0192ab', 0, 255])
        source.write_bytes(broken[: chance.integers(0, len(good) + 1) if chance.random() < 0.2 else None])
        said = run(trainer, "--data", data, "--load", source, "--eval", "--quiet", errors="replace")
        assert said.returncode in (0, 1)
        assert (said.returncode == 1) == said.stderr.startswith("trainer: ")


def test_weights_that_are_not_numbers(tensors: Tensors, trainer: Path, data: Path, tmp_path: Path) -> None:
    source = tmp_path / "weights.safetensors"
    tensors["1.bias"][1] = np.nan
    save_file(tensors, source)
    said = run(trainer, "--data", data, "--load", source, "--eval")
    assert said.returncode == 1
    assert said.stderr.startswith(
        "trainer: the loss is nan among test samples 0 to 7: the weights are too large or not numbers"
    )


CREATE = r"cannot create {0}\.tmp\.\d+: "
UNWRITABLE: dict[str, tuple[str, str]] = {
    "no folder": ("gone/weights", CREATE + "no such file or directory"),
    "a folder": ("", "it exists and is not a regular file"),
    "a device": ("/dev/null", "it exists and is not a regular file"),
    "below a file": ("file/weights", CREATE + "a part of the path is not a directory"),
    "name too long": ("n" * 250, CREATE + "path is too long"),
    "no permission": ("/proc/weights", CREATE + ".*"),
}


@pytest.mark.parametrize(("name", "reason"), UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_unwritable_path_is_found_first(name: str, reason: str, trainer: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    target = tmp_path / name
    said = run(trainer, "--data", data, "--save", target)
    assert (said.returncode, said.stdout) == (1, "")
    expected = f"trainer: cannot save to {re.escape(str(target))}: {reason.format(re.escape(str(target)))}\n"
    assert re.fullmatch(expected, said.stderr), said.stderr
    assert os.listdir(tmp_path) == ["file"]


def test_full_disk_leaves_the_old_file(build: Build, tmp_path: Path) -> None:
    """The limit on file size stands for a full disk: half of the file fits."""
    model = Linear(height=20, width=20, outputs=10)
    folder = Data.make(model).write(tmp_path / "data")
    target = tmp_path / "weights"
    target.write_bytes(b"old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    said = run(build(model), "--data", folder, "--save", target, preexec_fn=limit)
    assert said.returncode == 1
    assert said.stderr == f"trainer: cannot save to {target}: file would be larger than the limit (ulimit -f)\n"
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["data", "weights"]


def test_temporary_file_of_somebody_else_is_left_alone(trainer: Path, data: Path, tmp_path: Path) -> None:
    def same_number() -> None:
        (tmp_path / f"w.tmp.{os.getpid()}").write_bytes(b"theirs")  # the process keeps its number over exec

    said = run(trainer, "--data", data, "--save", tmp_path / "w", preexec_fn=same_number)
    assert (said.returncode, said.stderr) == (0, "")
    assert set(load_file(tmp_path / "w")) == {"1.weight", "1.bias"}
    (other,) = tmp_path.glob("w.tmp.*")
    assert other.read_bytes() == b"theirs"


def test_many_trainers_save_to_one_file(trainer: Path, data: Path, tmp_path: Path) -> None:
    def start(saved: Path, seed: int) -> subprocess.Popen[bytes]:
        arguments = [trainer, "--data", data, "--epochs", "0", "--quiet", "--save", saved, "--seed", str(seed)]
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL)

    alone = {seed: tmp_path / f"alone{seed}" for seed in range(8)}
    assert [start(saved, seed).wait(60) for seed, saved in alone.items()] == [0] * 8
    (shared := tmp_path / "shared").mkdir()
    running = [start(shared / "w", seed) for seed in alone]
    assert [process.wait(60) for process in running] == [0] * 8
    assert os.listdir(shared) == ["w"]
    assert (shared / "w").read_bytes() in {saved.read_bytes() for saved in alone.values()}


def test_save_replaces_a_link(trainer: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "w").symlink_to("target")
    assert run(trainer, "--data", data, "--save", tmp_path / "w").returncode == 0
    assert not (tmp_path / "w").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"kept"


def test_save_into_the_current_folder(trainer: Path, data: Path, tmp_path: Path) -> None:
    assert run(trainer, "--data", data, "--save", "w", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["w"]


@pytest.mark.parametrize("make", [lambda log: log.mkdir(), lambda log: None], ids=["a folder", "no parent"])
def test_unwritable_log(make: Callable[[Path], None], trainer: Path, data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    make(log)
    said = run(trainer, "--data", data, "--log", log if log.exists() else log / "x")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(f"trainer: cannot write the log {log}")


def test_log_on_a_full_disk(build: Build, data: Path, tmp_path: Path) -> None:
    """The training goes on, the weights are saved, but the exit code tells."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    log = tmp_path / "log.csv"
    said = run(
        build(Linear()), "--data", data, "--epochs", 50, "--log", log, "--save", tmp_path / "w", preexec_fn=limit
    )
    assert said.returncode == 1
    assert said.stderr == f"trainer: cannot write the log {log}: file would be larger than the limit (ulimit -f)\n"
    assert said.stdout.splitlines()[-1].startswith("test accuracy")
    assert set(load_file(tmp_path / "w")) == {"1.weight", "1.bias"}


def test_no_memory(trainer: Path, data: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))

    said = run(trainer, "--data", data, preexec_fn=limit)
    assert (said.returncode, said.stderr) == (1, "trainer: cannot get 2.1 MB of memory: out of memory\n")


def test_closed_output_takes_no_files_place(trainer: Path, data: Path, tmp_path: Path) -> None:
    """The log must not get the number of standard output, and with it the report."""
    log = tmp_path / "log"
    said = run(trainer, "--data", data, "--log", log, stdout=None, preexec_fn=lambda: os.close(1))
    assert (said.returncode, said.stderr) == (1, "trainer: cannot write the report: the descriptor is closed\n")
    assert [line.count(",") for line in log.read_text().splitlines()] == [7] * 4


def test_report_that_cannot_be_written(trainer: Path, data: Path, tmp_path: Path) -> None:
    """The training goes on, the weights are saved, but the exit code tells."""
    with open("/dev/full", "w") as full:
        said = run(trainer, "--data", data, "--save", tmp_path / "w", stdout=full)
    assert (said.returncode, said.stderr) == (1, "trainer: cannot write the report: no space left on the device\n")
    assert os.listdir(tmp_path) == ["w"]
