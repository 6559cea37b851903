"""IDX files: what is written is read, and every way a file can be wrong has its one line."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from asmgen.data.idx import IdxWriter, read_idx, write_idx
from asmgen.errors import DataError


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2, 5), (0, 7)])
@pytest.mark.parametrize("packed", [False, True])
def test_round_trip(tmp_path: Path, dtype: type, shape: tuple[int, ...], packed: bool) -> None:
    array = (np.arange(np.prod(shape)) * 37 - 60).astype(dtype).reshape(shape)
    path = tmp_path / "x-ubyte"
    write_idx(path, array)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    for mmap in (False, True):
        back = read_idx(path, mmap=mmap)
        assert back.dtype == array.dtype
        assert back.dtype.isnative
        np.testing.assert_array_equal(back, array)
    assert [file.name for file in tmp_path.iterdir()] == ["x-ubyte"]


def test_bytes_are_the_format(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", np.array([[1, -2]], np.int16))
    assert (tmp_path / "a").read_bytes() == bytes.fromhex("00000b02 00000001 00000002 0001fffe")
    with IdxWriter(tmp_path / "b", (2,)) as writer:
        for item in ([1, 2], [3, 4], [5, 6]):
            writer.append(np.array(item, np.uint8))
    assert (tmp_path / "b").read_bytes() == bytes.fromhex("00000802 00000003 00000002 010203040506")


GOOD = b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(6)
HUGE = b"\0\0\x08\x02" + b"\xff" * 8

BROKEN = {
    "empty": (b"", "0 bytes are too few for an IDX file"),
    "three bytes": (b"\0\0\x08", "3 bytes are too few"),
    "png": (b"\x89PNG....", "magic number 89 50 4e 47 is not IDX"),
    "type": (b"\0\0\x07\x01\0\0\0\0", "magic number 00 00 07 01 is not IDX"),
    "rank": (b"\0\0\x08\0", r"magic number 00 00 08 00 is not IDX.*rank of 1\.\.32"),
    "header": (GOOD[:9], "truncated: a header of rank 2 takes 12 bytes, the file has 9"),
    "short": (GOOD[:-1], "truncated: 2x3 uint8 takes 18 bytes, the file has 17"),
    "long": (GOOD + b"x", "too long: 2x3 uint8 takes 18 bytes, the file has 19"),
    "huge": (HUGE, r"truncated: 4294967295x4294967295 uint8 takes \d+ bytes, the file has 12"),
    "gz short": (gzip.compress(GOOD[:-1]), "truncated: 2x3 uint8 takes 18 bytes, the file has 17"),
    "gz bomb": (gzip.compress(GOOD + bytes(10**7)), "too long: 2x3 uint8 takes 18 bytes, the file has 19"),
    "gz huge": (gzip.compress(HUGE), "truncated: 4294967295x4294967295"),
    "gz cut": (gzip.compress(GOOD)[:-9], "broken gzip data"),
    "gz damaged": (gzip.compress(GOOD)[:10] + b"\xff" * 20, "broken gzip data"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "broken-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: {message}"):
        read_idx(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read: No such file"):
        read_idx(tmp_path / "none")


def test_what_idx_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot hold int64; it knows uint8, int8, int16, int32, float32, float64"):
        write_idx(tmp_path / "x", np.zeros(3, np.int64))
    with pytest.raises(DataError, match=r"rank 0 is outside IDX's 1\.\.32"):
        write_idx(tmp_path / "x", np.array(1, np.uint8))
    with pytest.raises(DataError, match="cannot write: No such file or directory"):
        write_idx(tmp_path / "no" / "x", np.zeros(3, np.uint8))
    assert not list(tmp_path.iterdir())
