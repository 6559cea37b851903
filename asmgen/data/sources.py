"""Where class folders lie: a directory or a zip archive, with the same entries and the same names for both."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asmgen.data.decode import RejectError
from asmgen.errors import DataError

MAX_FILE_BYTES = 256 << 20
MAX_CLASSES = 256  # labels are ubyte
_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}

_Parts = tuple[str, ...]
_Place = str | int  # a file's path, or a member's index in its archive (names may repeat there)


@dataclass(frozen=True)
class Entry:
    """One file: its class, its name below the folder of class folders, and where `Source.read` finds it."""

    label: int
    name: str
    place: _Place


@dataclass(frozen=True)
class Source:
    """A directory or a zip file; small and picklable, so every worker opens it for itself."""

    path: str

    def read(self, entry: Entry) -> bytes:
        """The bytes of one file. Raises RejectError when there is no reading them."""
        try:
            if isinstance(entry.place, int):
                return _read_member(_archive(self.path), entry.place)
            return _read_file(entry.place)
        except OSError as error:
            raise RejectError(f"cannot read: {error.strerror or error}") from error


@dataclass(frozen=True)
class ClassFolders:
    """Sorted class names, the files in them sorted by name, and the files beside them, which belong to no class.

    `wrapper` is the path from the source to the class folders ("" or "PetImages/").
    """

    source: Source
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    outside: tuple[str, ...]
    wrapper: str


@dataclass
class _Listing:
    folders: set[_Parts]
    files: list[tuple[_Parts, _Place]]


def find_classes(path: Path) -> ClassFolders:
    """The class folders of a directory or zip; a folder that only wraps them is descended into.

    Hidden folders and macOS archive metadata are ignored. Raises DataError when there are fewer than 2 or more than
    256 class folders, when one is empty, or when the folders are a ready-made split.
    """
    listing = _list(path)
    wrapper: _Parts = ()
    while True:
        depth = len(wrapper)
        inside = {parts[depth] for parts in listing.folders if len(parts) == depth + 1 and parts[:depth] == wrapper}
        if len(inside) != 1 or not any(len(parts) > depth + 1 for parts in listing.folders):
            break
        wrapper += tuple(inside)
    classes = tuple(sorted(inside))
    _check_classes(path, classes)
    label = {name: index for index, name in enumerate(classes)}
    entries, outside = [], []
    for parts, place in listing.files:
        if len(parts) > depth + 1:
            entries.append(Entry(label[parts[depth]], "/".join(parts[depth:]), place))
        else:
            outside.append("/".join(parts))
    filled = {entry.label for entry in entries}
    for name in classes:
        if label[name] not in filled:
            raise DataError(f"{path}: class folder {name!r} is empty; remove it or put images into it")
    entries.sort(key=lambda entry: entry.name)
    prefix = "".join(f"{part}/" for part in wrapper)
    return ClassFolders(Source(str(path)), classes, tuple(entries), tuple(sorted(outside)), prefix)


def _check_classes(path: Path, classes: tuple[str, ...]) -> None:
    if not 2 <= len(classes) <= MAX_CLASSES:
        found = f"{len(classes)} class folders" + (f" ({classes[0]!r})" if len(classes) == 1 else "")
        raise DataError(f"{path}: {found} found, 2..{MAX_CLASSES} needed; give a folder with one folder per class")
    for name in classes:
        if (raw := os.fsencode(name)) != name.encode(errors="replace"):
            raise DataError(f"{path}: the name of class folder {raw!r} is not UTF-8; rename it")
    if _SPLIT_NAMES.issuperset(name.lower() for name in classes):
        raise DataError(
            f"{path}: folders {', '.join(classes)} are a ready-made split, not classes; "
            "import one of them, or merge their class folders (the split is made anew)"
        )


def _list(path: Path) -> _Listing:
    _archive.cache_clear()  # a file of the same name may have been replaced since
    listing = _Listing(set(), [])
    if path.is_dir():
        for parts, place in _walk(path):
            _add(listing, parts, place)
    elif zipfile.is_zipfile(path):
        for index, info in enumerate(_archive(str(path)).infolist()):
            parts = tuple(part for part in info.filename.replace("\\", "/").split("/") if part not in ("", "."))
            _add(listing, parts, None if info.is_dir() else index)
    else:
        what = "is neither a folder nor a zip archive" if path.exists() else "does not exist"
        raise DataError(f"{path}: {what}; give a folder (or a .zip) with one folder of images per class")
    return listing


def _add(listing: _Listing, parts: _Parts, place: _Place | None) -> None:
    folders = parts if place is None else parts[:-1]
    if any(part.startswith(".") or part == "__MACOSX" for part in folders):
        return
    listing.folders.update(folders[:end] for end in range(1, len(folders) + 1))
    if place is not None:
        listing.files.append((parts, place))


def _walk(root: Path) -> Iterator[tuple[_Parts, _Place | None]]:
    """Files (with their path) and folders (with None); linked folders are followed, each real folder once."""
    pending: list[_Parts] = [()]
    seen: set[tuple[int, int]] = set()
    while pending:
        folder = pending.pop()
        path = os.path.join(root, *folder)
        try:
            status = os.stat(path)
            names = sorted(os.listdir(path))
        except OSError as error:
            raise DataError(f"{path}: cannot read: {error.strerror}") from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if folder:
            yield folder, None
        for name in names:
            place = os.path.join(path, name)
            if os.path.isdir(place):
                pending.append((*folder, name))
            else:
                yield (*folder, name), place


def _read_file(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise RejectError("not a regular file")
    _check_bytes(status.st_size)
    with open(path, "rb") as file:
        return file.read()


@lru_cache(maxsize=1)
def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot read the zip archive: {error}") from error


def _read_member(archive: zipfile.ZipFile, index: int) -> bytes:
    info = archive.infolist()[index]
    _check_bytes(info.file_size)
    try:
        return archive.read(info)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted, or unknown method
        raise RejectError(f"cannot unpack: {error}") from error


def _check_bytes(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise RejectError(f"{size} bytes, more than {MAX_FILE_BYTES}")
