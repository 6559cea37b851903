"""The order of a data set and its split into train and test: from the seed and the names alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from hashlib import blake2b
from typing import TypeVar

from asmgen.errors import UsageError

T = TypeVar("T")


def shuffled(items: Iterable[T], seed: int, name: Callable[[T], str]) -> list[T]:
    """`items` ordered by a hash of (seed, name): the same on every machine, whatever order they were found in."""

    def key(item: T) -> bytes:
        return blake2b(f"{seed}\0{name(item)}".encode("utf-8", "surrogateescape"), digest_size=16).digest()

    return sorted(items, key=key)


class StratifiedSplit:
    """Deals the samples of each class to train and test as they come, without knowing how many there will be.

    After n samples of a class, `floor(n * test_fraction + 1/2)` of them are in test: exact for every class, in one
    pass, while broken files drop out. The samples must come in a random order (`shuffled`).
    """

    def __init__(self, test_fraction: float, n_classes: int) -> None:
        if not 0 < test_fraction < 1:
            raise UsageError(f"test fraction {test_fraction} must be between 0 and 1, both excluded; e.g. 0.2")
        self._fraction = Fraction(test_fraction).limit_denominator(1_000_000)
        self._seen = [0] * n_classes

    def _quota(self, seen: int) -> int:
        return int(seen * self._fraction + Fraction(1, 2))

    def is_test(self, label: int) -> bool:
        """Whether the next sample of class `label` belongs to the test set."""
        seen = self._seen[label]
        self._seen[label] = seen + 1
        return self._quota(seen + 1) > self._quota(seen)
