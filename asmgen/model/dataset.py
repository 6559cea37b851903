"""The data a model trains on: a directory of IDX files and how a pixel becomes a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from asmgen.ops.located import Located

TO_END = -1


@dataclass(frozen=True)
class Dataset(Located):
    """The IDX files in the directory `name` under $ASMGEN_DATA; pixel p becomes (p * scale - mean[c]) / std[c].

    `mean` and `std` hold one number per channel (one number alone: a single channel). `validation` is
    ("test" | "train", begin, end): the samples that each epoch's validation accuracy is measured on; end = -1 means
    to the end.
    """

    name: str
    scale: float = 1 / 255
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    validation: tuple[Literal["test", "train"], int, int] | None = None

    def check(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise self.error(f"name={self.name!r} must be a plain directory name: letters, digits, '.', '_', '-'")
        self.need_number("scale", 0, 1e6, above=True)
        self._check_channels("mean", -1e6, allow_zero=True)
        self._check_channels("std", 0, allow_zero=False)
        self._check_validation()

    def affine(self, channels: int) -> list[tuple[float, float]]:
        """(a, b) of each channel: pixel p becomes p * a + b."""
        mean = _values(self.mean) or (0.0,) * channels
        std = _values(self.std) or (1.0,) * channels
        return [(self.scale / s, -m / s) for m, s in zip(mean, std, strict=True)]

    def check_channels(self, channels: int) -> None:
        """Raise ModelError unless mean and std have one number per channel of the input."""
        for name in ("mean", "std"):
            values = _values(getattr(self, name))
            if len(values) not in (0, channels):
                raise self.error(f"{name}={values} needs one number for each channel of the input, {channels}")

    def _check_channels(self, name: str, low: float, *, allow_zero: bool) -> None:
        value = getattr(self, name)
        if value is None:
            return
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        for number in values:
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if not (is_number and low <= number <= 1e6 and (allow_zero or number != 0)):
                what = "numbers" if allow_zero else "positive numbers"
                raise self.error(f"{name}={value!r} must hold {what}, one per channel")
        if not values:
            raise self.error(f"{name} is empty; give one number per channel")
        object.__setattr__(self, name, values)

    def _check_validation(self) -> None:
        if self.validation is None:
            return
        match self.validation:
            case ("test" | "train" as source, int(begin), int(end)) if begin >= 0 and (begin < end or end == TO_END):
                object.__setattr__(self, "validation", (source, begin, end))
            case _:
                raise self.error(
                    f'validation={self.validation!r} must be ("test" or "train", begin, end) with 0 <= begin < end '
                    "(end = -1: to the end)"
                )


def _values(numbers: float | tuple[float, ...] | None) -> tuple[float, ...]:
    if numbers is None:
        return ()
    return numbers if isinstance(numbers, tuple) else (numbers,)
