"""Rows: the features of one sample each, their own or those of a flattened image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout.image import Image
from asmgen.plan.layout.units import DENSE_QUAD, ELEMENT_BYTES, round_up


@dataclass(frozen=True)
class Rows:
    """`[n][features]`, row stride padded to a multiple of V and of 4 elements.

    `source`: the image (without halo) whose features these are, when the rows are a flattened view of one; a feature
    then lies where the image has it, and n and features are the image's.
    """

    n: int
    features: int
    block: int
    dtype: str
    source: Image | None = None

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def stride(self) -> int:
        """Elements from a row to the next; a multiple of block."""
        if self.source is not None:
            return self.source.sample_bytes // self.element_bytes
        return round_up(self.features, max(self.block, DENSE_QUAD))

    @property
    def n_vectors(self) -> int:
        return self.stride // self.block

    @property
    def sample_bytes(self) -> int:
        return self.stride * self.element_bytes

    @property
    def size_bytes(self) -> int:
        return self.n * self.sample_bytes

    def offset_bytes(self, n: int = 0, position: int = 0) -> int:
        """Of the element at `position` in row n (position counts in memory order)."""
        return n * self.sample_bytes + position * self.element_bytes

    def pack(self, array: np.ndarray) -> np.ndarray:
        """[n, features] (canonical order c, h, w behind a Flatten) -> flat elements, padding zero."""
        if array.shape != (self.n, self.features):
            raise ValueError(f"array {array.shape} is not {(self.n, self.features)}")
        if self.source is not None:
            return self.source.pack(array.reshape(self.n, self.source.c, self.source.h, self.source.w))
        flat = np.zeros((self.n, self.stride), self.dtype)
        flat[:, : self.features] = array
        return flat.reshape(-1)

    def unpack(self, flat: np.ndarray) -> np.ndarray:
        """Flat elements -> [n, features] in canonical order."""
        if self.source is not None:
            return self.source.unpack(flat).reshape(self.n, self.features)
        return flat.reshape(self.n, self.stride)[:, : self.features].copy()

    def padding_is_zero(self, flat: np.ndarray) -> bool:
        """Whether the elements behind `features` hold zeros."""
        return np.array_equal(self.pack(self.unpack(flat)), flat.reshape(-1))

    def __str__(self) -> str:
        return f"[{self.n}][{self.stride}]"


Activations = Image | Rows
