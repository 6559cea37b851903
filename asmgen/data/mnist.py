"""`asmgen data fetch mnist`: the four files from a mirror, checked, unpacked; whole or not there."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from asmgen.data.dataset import Progress, Summary, write_json
from asmgen.data.directory import read_directory
from asmgen.data.staging import staged_directory
from asmgen.errors import DataError, UsageError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_TIMEOUT_S = 30
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class _File:
    """One file as it is used, unpacked. Its own hash is checked, so it does not matter who packed it, or how."""

    name: str
    size: int  # bytes
    sha256: str


_FILES = (
    _File("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    _File("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    _File("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    _File("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


class _MirrorError(Exception):
    """This mirror does not have the right bytes, or cannot be reached; the next one may."""


def fetch_mnist(
    out: Path, *, mirrors: Sequence[str] = MIRRORS, replace: bool = False, progress: Progress | None = None
) -> Summary:
    """Download MNIST into `out` as plain IDX files under its own names; nothing to do where they already are.

    Every file is taken from the first of `mirrors` (folders, http or https) that has it with the right SHA-256.
    `progress` counts unpacked bytes. Raises DataError when no mirror serves, UsageError for another kind of URL.
    """
    out = Path(out)
    for mirror in mirrors:
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise UsageError(f"mirror {mirror!r} is not an http or https URL")
    if not _is_complete(out):
        total = sum(file.size for file in _FILES)
        done = 0
        with staged_directory(out, replace=replace) as stage:
            for file in _FILES:
                (stage / file.name).write_bytes(_fetch(file, mirrors, out, _offset(progress, done, total)))
                done += file.size
            write_json(stage / "classes.json", [str(digit) for digit in range(10)])
    return read_directory(out).summary()


def _offset(progress: Progress | None, done: int, total: int) -> Progress:
    """Progress within one file -> progress over all of them."""
    return (lambda part, _: progress(done + part, total)) if progress else (lambda *_: None)


def _is_complete(out: Path) -> bool:
    try:
        return all(sha256((out / file.name).read_bytes()).hexdigest() == file.sha256 for file in _FILES)
    except OSError:
        return False


def _fetch(file: _File, mirrors: Sequence[str], out: Path, progress: Progress) -> bytes:
    problems = []
    for mirror in mirrors:
        try:
            return _download(f"{mirror.rstrip('/')}/{file.name}.gz", file, progress)
        except _MirrorError as error:
            problems.append(f"{urlsplit(mirror).netloc}: {error}")
    raise DataError(
        f"cannot fetch {file.name}.gz ({'; '.join(problems)}); without a network, put MNIST's four .gz files into a "
        f"folder and run: asmgen data import FOLDER -o {out}"
    )


def _download(url: str, file: _File, progress: Progress) -> bytes:
    """Download and unpack at the same time, never more than the file's known size."""
    plain = bytearray()
    unpacker = zlib.decompressobj(wbits=31)  # gzip
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            while not unpacker.eof and len(plain) <= file.size and (piece := response.read(_PIECE_BYTES)):
                plain += unpacker.decompress(piece, file.size + 1 - len(plain))
                progress(min(len(plain), file.size), file.size)
    except urllib.error.HTTPError as error:
        raise _MirrorError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _MirrorError(str(getattr(error.reason, "strerror", None) or error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(f"connection broke: {error}") from error
    except zlib.error as error:
        raise _MirrorError(f"not gzip data: {error}") from error
    if len(plain) != file.size:
        size = "more" if len(plain) > file.size else f"only {len(plain)} bytes"
        raise _MirrorError(f"unpacks to {size}, {file.size} expected")
    if sha256(plain).hexdigest() != file.sha256:
        raise _MirrorError("SHA-256 differs")
    return bytes(plain)
