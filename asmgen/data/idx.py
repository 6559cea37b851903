"""IDX files: the format of MNIST, plain or gzipped, read and written.

An IDX file is `00 00 <type> <rank>`, then `rank` big-endian u32 dimensions, then the elements in row-major order,
big-endian. `<type>` is 08 ubyte, 09 byte, 0b short, 0c int, 0d float, 0e double.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from asmgen.data.staging import staged_file
from asmgen.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}
_MAX_RANK = 32  # the highest rank every NumPy release can hold
_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class IdxHeader:
    """What an IDX file says about itself: the element type as stored (big-endian) and the shape."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    @property
    def file_bytes(self) -> int:
        """Size of the whole plain file."""
        return self.header_bytes + math.prod(self.shape) * self.dtype.itemsize

    def encode(self) -> bytes:
        code = _CODES[self.dtype.newbyteorder("=")]
        return struct.pack(f">BBBB{len(self.shape)}I", 0, 0, code, len(self.shape), *self.shape)

    def describe(self) -> str:
        return f"{'x'.join(map(str, self.shape))} {self.dtype.newbyteorder('=').name}"


def read_idx(path: str | os.PathLike[str], *, mmap: bool = False) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order; gzip is recognised by its first bytes.

    With `mmap`, a plain ubyte or byte file is mapped read-only instead of read, so a data set larger than memory works.
    Raises DataError (what, where, value, limit) when the file is missing, not IDX, truncated or too long.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if zipped:
                return _read_gzip(path, raw)
            header = _read_header(path, raw)
            _check_size(path, header, os.fstat(raw.fileno()).st_size)
            if mmap and header.dtype.itemsize == 1 and header.file_bytes > header.header_bytes:
                return np.memmap(raw, header.dtype.newbyteorder("="), "r", header.header_bytes, header.shape)
            return _native(np.frombuffer(raw.read(), header.dtype), header)
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write `array` as a plain IDX file; beside first, then renamed, so the file is whole or not there.

    Raises DataError for a type IDX cannot hold, a rank outside 1..32, or a failed write.
    """
    path = Path(path)
    if array.dtype.newbyteorder("=") not in _CODES:
        names = ", ".join(dtype.name for dtype in _CODES)
        raise DataError(f"{path}: IDX cannot hold {array.dtype.name}; it knows {names}: convert the array first")
    if not 1 <= array.ndim <= _MAX_RANK:
        raise DataError(f"{path}: rank {array.ndim} is outside IDX's 1..{_MAX_RANK}; reshape the array first")
    header = IdxHeader(array.dtype.newbyteorder(">"), array.shape)
    with staged_file(path) as stage, stage.open("wb") as file:
        file.write(header.encode())
        file.write(np.ascontiguousarray(array, header.dtype).data.cast("B") if array.size else b"")


class IdxWriter:
    """A ubyte IDX file written item by item in constant memory; the count goes into the header at the end.

    Writes in place: use it inside a staged directory.
    """

    def __init__(self, path: Path, item_shape: tuple[int, ...]) -> None:
        self._item_shape = item_shape
        self._file: IO[bytes] = path.open("wb")
        self._file.write(self._header(0))
        self.count = 0

    def _header(self, count: int) -> bytes:
        return IdxHeader(np.dtype(">u1"), (count, *self._item_shape)).encode()

    def append(self, item: np.ndarray) -> None:
        """Add one ubyte item of the item shape."""
        if item.dtype != np.uint8 or item.shape != self._item_shape:
            raise ValueError(f"item is {item.dtype.name} {item.shape}, the file holds uint8 {self._item_shape}")
        self._file.write(item.tobytes())
        self.count += 1

    def __enter__(self) -> IdxWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._file.write(self._header(self.count))


def _native(flat: np.ndarray, header: IdxHeader) -> np.ndarray:
    return flat.reshape(header.shape).astype(header.dtype.newbyteorder("="))


def _read_header(path: Path, file: IO[bytes] | gzip.GzipFile) -> IdxHeader:
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path}: {len(magic)} bytes are too few for an IDX file (its header takes 8 or more)")
    rank = magic[3]
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= rank <= _MAX_RANK:
        raise DataError(
            f"{path}: magic number {magic.hex(' ')} is not IDX; expected 00 00, a type (08 ubyte, 09 byte, 0b short, "
            f"0c int, 0d float, 0e double) and a rank of 1..{_MAX_RANK}"
        )
    dims = file.read(4 * rank)
    if len(dims) < 4 * rank:
        raise DataError(
            f"{path}: truncated: a header of rank {rank} takes {4 + 4 * rank} bytes, the file has {4 + len(dims)}"
        )
    return IdxHeader(np.dtype(_TYPES[magic[2]]), struct.unpack(f">{rank}I", dims))


def _check_size(path: Path, header: IdxHeader, file_bytes: int) -> None:
    if file_bytes != header.file_bytes:
        problem = "truncated" if file_bytes < header.file_bytes else "too long"
        raise DataError(
            f"{path}: {problem}: {header.describe()} takes {header.file_bytes} bytes, the file has {file_bytes}; "
            "copy or fetch it again"
        )


def _read_gzip(path: Path, raw: IO[bytes]) -> np.ndarray:
    """Unpack at most one byte more than the header announces, so a lying file cannot fill the memory."""
    data = bytearray()
    try:
        with gzip.GzipFile(fileobj=raw) as file:
            header = _read_header(path, file)
            left = header.file_bytes - header.header_bytes + 1
            while left and (piece := file.read(min(left, _READ_BYTES))):
                data += piece
                left -= len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: broken gzip data: {error}; copy or fetch it again") from error
    _check_size(path, header, header.header_bytes + len(data))
    return _native(np.frombuffer(data, header.dtype), header)
