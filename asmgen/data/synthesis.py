"""`asmgen data synth`: data sets that are drawn, so a first training needs no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asmgen.data.dataset import Build, Progress, Summary, build_dataset
from asmgen.data.drawing import catdog, digits
from asmgen.errors import UsageError

_MIN_SIZE, _MAX_SIZE = 8, 1024


@dataclass(frozen=True)
class Kind:
    """What can be drawn, and its data set when nothing else is asked for; `channels` is the item's leading dims."""

    draw: Callable[[int, int, np.random.RandomState], NDArray[np.uint8]]
    classes: tuple[str, ...]
    channels: tuple[int, ...]
    size: int
    count: int
    test_fraction: float
    test_prefix: str


KINDS = {
    "catdog": Kind(catdog.draw_catdog, catdog.CLASSES, (3,), 128, 2_000, 1 / 5, "test"),
    # MNIST's own shape, counts and file names, so that models of MNIST train on it unchanged.
    "digits": Kind(digits.draw_digit, digits.CLASSES, (), 28, 70_000, 1 / 7, "t10k"),
}


@dataclass(frozen=True)
class Sketch:
    """A picture to draw: the `index`-th of its data set."""

    index: int
    label: int

    @property
    def name(self) -> str:
        return str(self.index)


@dataclass(frozen=True)
class DrawTask:
    """What a worker does. Every picture has a random state of its own: (seed, index) alone decide it."""

    kind: str
    size: int
    seed: int

    def __call__(self, sketches: Sequence[Sketch]) -> list[NDArray[np.uint8] | str]:
        draw = KINDS[self.kind].draw
        key = [self.seed & 0xFFFFFFFF, self.seed >> 32]
        # RandomState, because NumPy guarantees its stream for ever.
        return [draw(s.label, self.size, np.random.RandomState([*key, s.index])) for s in sketches]


def synth(
    kind: str,
    out: Path,
    *,
    count: int | None = None,
    size: int | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Draw `count` pictures of `size` x `size` pixels, the classes in equal numbers, into `out`.

    catdog: `[3][size][size]`, 2,000 of 128, a fifth of them test. digits: `[size][size]`, 70,000 of 28, a seventh test.
    The bytes depend on `kind`, `count`, `size`, `test_fraction`, `seed` and the version of Pillow, not on `workers`.
    Raises UsageError for a kind, count, size or seed outside its range, DataError when `out` cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"cannot draw {kind!r}; choose from {', '.join(KINDS)}")
    what = KINDS[kind]
    count = what.count if count is None else count
    size = what.size if size is None else size
    for name, value, low, high in (
        ("count", count, 2 * len(what.classes), 10_000_000),
        ("size", size, _MIN_SIZE, _MAX_SIZE),
        ("seed", seed, 0, 2**64 - 1),
    ):
        if not low <= value <= high:
            raise UsageError(f"{name} {value} is outside {low}..{high}")
    fraction = what.test_fraction if test_fraction is None else test_fraction
    shape = (*what.channels, size, size)
    build = Build(Path(out), what.classes, shape, fraction, seed, workers, what.test_prefix, replace, progress)
    return build_dataset(build, [Sketch(i, i % len(what.classes)) for i in range(count)], DrawTask(kind, size, seed))
