"""Samples -> a data set directory: order, split, files; whole or not there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from asmgen.data.idx import IdxWriter
from asmgen.data.split import StratifiedSplit, shuffled
from asmgen.data.staging import staged_directory
from asmgen.data.workers import available_cpus, ordered_map
from asmgen.errors import DataError

Progress = Callable[[int, int], None]  # (done, total), called as samples are finished

_CHUNK = 16  # samples a worker does at a time: 0.8 MB of 3x128x128


class Candidate(Protocol):
    """Something that may become a sample: its class and a name that decides its place in the order."""

    @property
    def label(self) -> int: ...

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True)
class Reject:
    """A file that is not in the data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """What was written: the item shape, and per class the number of samples in each split."""

    path: Path
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class Build:
    """How a data set directory is made; `test_prefix` is "test", or "t10k" for MNIST's names.

    The bytes written depend on the candidates, `shape`, `test_fraction` and `seed`, never on `workers`.
    """

    out: Path
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    test_fraction: float
    seed: int
    workers: int | None = None  # None: one per CPU this process may use
    test_prefix: str = "test"
    replace: bool = False
    progress: Progress | None = None


def build_dataset(
    build: Build,
    candidates: Sequence[C],
    task: Callable[[Sequence[C]], list[NDArray[np.uint8] | str]],
    outside: Sequence[Reject] = (),
    wrapper: str = "",
) -> Summary:
    """Run `task` (candidates -> samples, or the reason for rejecting one) and write what it returns.

    Rejects go, with `outside`, to `rejects.json`, their paths prefixed with `wrapper`. Raises DataError when a class
    ends up with no sample in a split: a trainer could not learn or test it.
    """
    split = StratifiedSplit(build.test_fraction, len(build.classes))
    ordered = shuffled(candidates, build.seed, lambda candidate: candidate.name)
    rejects = list(outside)
    with staged_directory(build.out, replace=build.replace) as stage:
        with (
            SplitWriter(stage, "train", build.shape) as train,
            SplitWriter(stage, build.test_prefix, build.shape) as test,
            closing(ordered_map(task, ordered, _CHUNK, build.workers or available_cpus())) as results,
        ):
            for done, (candidate, result) in enumerate(zip(ordered, results, strict=True), 1):
                if isinstance(result, str):
                    rejects.append(Reject(wrapper + candidate.name, result))
                else:
                    (test if split.is_test(candidate.label) else train).append(result, candidate.label)
                if build.progress:
                    build.progress(done, len(ordered))
        rejects.sort(key=lambda reject: reject.path)
        summary = Summary(
            build.out,
            build.classes,
            build.shape,
            tuple(train.counts[label] for label in range(len(build.classes))),
            tuple(test.counts[label] for label in range(len(build.classes))),
            tuple(rejects),
        )
        _check_counts(summary)
        write_json(stage / "classes.json", list(build.classes))
        if rejects:
            write_json(stage / "rejects.json", [asdict(reject) for reject in rejects])
    return summary


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


class SplitWriter:
    """The two files of one split, `<prefix>-images-idx<rank>-ubyte` and `<prefix>-labels-idx1-ubyte`, in step."""

    def __init__(self, folder: Path, prefix: str, shape: tuple[int, ...]) -> None:
        self.counts: Counter[int] = Counter()
        with ExitStack() as stack:
            images = folder / f"{prefix}-images-idx{len(shape) + 1}-ubyte"
            self._images = stack.enter_context(IdxWriter(images, shape))
            self._labels = stack.enter_context(IdxWriter(folder / f"{prefix}-labels-idx1-ubyte", ()))
            self._files = stack.pop_all()

    def append(self, image: NDArray[np.uint8], label: int) -> None:
        self._images.append(image)
        self._labels.append(np.array(label, np.uint8))
        self.counts[label] += 1

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)


def _check_counts(summary: Summary) -> None:
    for name, train, test in zip(summary.classes, summary.train, summary.test, strict=True):
        if not train + test:
            example = next(reject for reject in summary.rejects if f"/{name}/" in f"/{reject.path}")
            raise DataError(
                f"class {name!r} has no usable image: all of its files were rejected (e.g. {example.path}: "
                f"{example.reason}); remove the folder or repair its images"
            )
    total = sum(summary.train + summary.test)
    for split, counts in (("train", summary.train), ("test", summary.test)):
        if not sum(counts):
            raise DataError(f"{total} samples leave none for {split}; change the test fraction or add samples")
