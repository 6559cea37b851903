"""All or nothing: files and directories are written beside their place, made durable, then renamed into it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from asmgen.errors import DataError

# What a data set consists of; a directory with anything else in it is never replaced.
_OWN_FILE = re.compile(r"(train|test|t10k)-(images|labels)-idx\d+-ubyte|classes\.json|rejects\.json")


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; renamed over `path` on success, removed on any failure."""
    stage = _beside(path, "partial")
    try:
        yield stage
        _sync(stage)
        os.replace(stage, path)
        _sync(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        stage.unlink(missing_ok=True)


@contextmanager
def staged_directory(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside `out`; it becomes `out` on success and vanishes on any failure.

    `out` may be missing, as may folders above it, or empty. With `replace` it may also hold a data set (and nothing
    else), which stays untouched until the new one is complete. Raises DataError when `out` is in the way or cannot be
    written.
    """
    target = Path(os.path.realpath(out))
    _check_free(target, replace)
    stage = _beside(target, "partial")
    missing: list[Path] = []
    try:
        missing += [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
        yield stage
        for file in stage.iterdir():
            _sync(file)
        _sync(stage)
        _publish(stage, target)
        _sync(target.parent)
    except OSError as error:
        raise _cannot_write(out, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        with suppress(OSError):  # on success they are not empty
            for folder in missing:
                folder.rmdir()


def _publish(stage: Path, target: Path) -> None:
    """Rename `stage` to `target`; a directory with files in it is moved aside first and back if the rename fails."""
    if not (target.exists() and any(target.iterdir())):
        os.rename(stage, target)
        return
    old = _beside(target, "old")
    os.rename(target, old)
    try:
        os.rename(stage, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old)


def _check_free(target: Path, replace: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"{target}: is a file, not a directory; choose another output")
    names = sorted(entry.name for entry in target.iterdir())
    foreign = [name for name in names if not _OWN_FILE.fullmatch(name)]
    if foreign:
        raise DataError(f"{target}: holds {foreign[0]!r}, which is not part of a data set; choose another output")
    if names and not replace:
        raise DataError(f"{target}: already holds a data set ({names[0]}, ...); replace it with --force")


def _beside(path: Path, what: str) -> Path:
    return path.parent / f".{path.name}.{what}-{token_hex(4)}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot write: {error.strerror or error}; nothing was left behind")
