"""Weights of a dense layer: lanes are its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout.image import Image
from asmgen.plan.layout.rows import Rows
from asmgen.plan.layout.units import DENSE_ROW_GROUP, ELEMENT_BYTES, round_up


@dataclass(frozen=True)
class DenseWeights:
    """`[out padded to 4][inputs]`, lanes are inputs in the order of the layer's input rows; the bias lies behind."""

    out: int
    inputs: Rows  # layout of one batch of inputs; gives the order and the row stride
    block: int
    dtype: str

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_rows(self) -> int:
        """Outputs padded to a multiple of 4; the rows behind `out` are zero."""
        return round_up(self.out, DENSE_ROW_GROUP)

    @property
    def row_bytes(self) -> int:
        return self.inputs.sample_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_rows * self.row_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + round_up(self.n_rows, self.block) * self.element_bytes

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[out, in] (canonical input order) and [out] -> flat elements."""
        rows = self._as_rows()
        padded = np.zeros((self.n_rows, self.inputs.features), self.dtype)
        padded[: self.out] = w
        bias = np.zeros((self.size_bytes - self.bias_offset_bytes) // self.element_bytes, self.dtype)
        bias[: self.out] = b
        return np.concatenate([rows.pack(padded), bias])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [out, in], [out]."""
        at = self.bias_offset_bytes // self.element_bytes
        return self._as_rows().unpack(flat[:at])[: self.out], flat[at : at + self.out].copy()

    def _as_rows(self) -> Rows:
        source = self.inputs.source
        if source is not None:
            source = Image(self.n_rows, source.c, source.h, source.w, source.block, self.dtype)
        return Rows(self.n_rows, self.inputs.features, self.block, self.dtype, source)

    def __str__(self) -> str:
        return f"[{self.n_rows}][{self.inputs.stride}] + bias"
