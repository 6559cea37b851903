"""`asmgen data import`: class folders of images, or IDX files, -> a data set directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asmgen.data.dataset import Build, Progress, Reject, Summary, build_dataset, write_json
from asmgen.data.decode import ImageSpec, RejectError, decode_image
from asmgen.data.directory import read_directory
from asmgen.data.idx import write_idx
from asmgen.data.sources import Entry, Source, find_classes
from asmgen.data.staging import staged_directory


@dataclass(frozen=True)
class DecodeTask:
    """What a worker does: read and decode entries of one source."""

    source: Source
    spec: ImageSpec

    def __call__(self, entries: Sequence[Entry]) -> list[NDArray[np.uint8] | str]:
        return [self._decode(entry) for entry in entries]

    def _decode(self, entry: Entry) -> NDArray[np.uint8] | str:
        try:
            return decode_image(self.source.read(entry), self.spec)
        except RejectError as reject:
            return str(reject)


def import_folder(
    path: Path,
    out: Path,
    *,
    size: tuple[int, int] = (128, 128),
    gray: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
    workers: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Class folders in a directory or zip -> `out`: IDX ubyte `[n][c][height][width]`, labels, `classes.json`.

    `size` is (height, width); c is 3 (RGB), or 1 with `gray`. A class's label is its place among the sorted names.
    Files that do not decode are listed in `rejects.json`. The bytes depend on the files' content and names, `size`,
    `gray`, `test_fraction` and `seed` only: a folder and a zip of it give the same. Raises DataError.
    """
    found = find_classes(Path(path))
    spec = ImageSpec(*size, gray)
    build = Build(
        Path(out), found.classes, spec.shape, test_fraction, seed, workers, replace=replace, progress=progress
    )
    outside = [Reject(name, "in no class folder") for name in found.outside]
    return build_dataset(build, found.entries, DecodeTask(found.source, spec), outside, found.wrapper)


def import_idx(path: Path, out: Path, *, replace: bool = False) -> Summary:
    """IDX files, plain or gzipped -> plain ones under MNIST's names in `out`, checked, and `classes.json`.

    Raises DataError for a missing, broken or mismatched file.
    """
    data = read_directory(Path(path))
    with staged_directory(Path(out), replace=replace) as stage:
        for prefix, split in data.splits.items():
            write_idx(stage / f"{prefix}-images-idx{split.images.ndim}-ubyte", split.images)
            write_idx(stage / f"{prefix}-labels-idx1-ubyte", split.labels)
        write_json(stage / "classes.json", list(data.classes))
    return read_directory(Path(out)).summary()
