"""Knows whether a build is still what its inputs give, without generating anything, and lets one at a time write."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from asmgen.model.network import Model
from asmgen.model.trace import parameters_of
from asmgen.ops.init import FromFile
from asmgen.paths import RUNTIME_DIR, TEMPLATES_DIR

_OUTPUTS = (".asm", ".cu", ".json", ".so")  # beside the trainer itself
_PACKAGE = Path(__file__).resolve().parent.parent


def digest(
    model: Model, model_path: Path, settings: Mapping[str, str], isa_name: str, tune_file: Path | None = None
) -> str:
    """Of all a build reads: asmgen itself, the model file, its options, the files it starts from, the tune file."""
    whole = hashlib.sha256(repr((isa_name, sorted(settings.items()))).encode())
    for path in (model_path, *_initial_files(model), *([tune_file] if tune_file else []), *_own_files()):
        content = path.read_bytes()
        whole.update(f"\n{path.name} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def stamp_file(trainer: Path) -> Path:
    """Where the digest of a trainer's build is kept."""
    return trainer.with_name(trainer.name.replace("trainer", ".stamp"))


def is_current(trainer: Path, key: str) -> bool:
    """Whether `trainer` is the finished build of this digest, and what was written with it is unchanged."""
    stamp = stamp_file(trainer)
    return trainer.exists() and stamp.exists() and stamp.read_text() == _stamp(trainer, key)


def finish(trainer: Path, key: str) -> None:
    """Says that `trainer`, and what lies beside it, is the build of this digest."""
    stamp_file(trainer).write_text(_stamp(trainer, key))


@contextmanager
def building(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Makes `folder` and keeps it for this build; `waits` is called where another one must end first."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stamp(trainer: Path, key: str) -> str:
    """The digest of the inputs, and one of the outputs."""
    whole = hashlib.sha256()
    for path in sorted(path for path in trainer.parent.iterdir() if path == trainer or path.suffix in _OUTPUTS):
        content = path.read_bytes()
        whole.update(f"\n{path.name} {len(content)}\n".encode() + content)
    return f"{key}\n{whole.hexdigest()}\n"


def _initial_files(model: Model) -> Iterator[Path]:
    for parameter in parameters_of(model):
        if isinstance(parameter.init, FromFile):
            yield Path(parameter.init.resolved_path)


def _own_files() -> list[Path]:
    folders = (TEMPLATES_DIR, RUNTIME_DIR)
    return [*sorted(_PACKAGE.rglob("*.py")), *(path for folder in folders for path in sorted(folder.rglob("*.*")))]
