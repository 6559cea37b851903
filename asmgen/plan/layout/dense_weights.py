"""Weights of a dense layer: lanes are its inputs, or its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout.image import Image
from asmgen.plan.layout.rows import Rows
from asmgen.plan.layout.units import DENSE_QUAD, ELEMENT_BYTES, round_up


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
        return round_up(self.out, DENSE_QUAD)

    @property
    def n_quads(self) -> int:
        """Of 4 outputs, which kernels compute together."""
        return self.n_rows // DENSE_QUAD

    @property
    def row_bytes(self) -> int:
        return self.inputs.sample_bytes

    @property
    def vector_bytes(self) -> int:
        """From a vector of a row to the next."""
        return self.block * self.element_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_rows * self.row_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + round_up(self.n_rows, self.block) * self.element_bytes

    def by_output(self) -> DenseWeightsByOutput:
        """The same weights with lanes = outputs."""
        return DenseWeightsByOutput(self.out, self.inputs, self.block, self.dtype)

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[out, in] (canonical input order) and [out] -> flat elements."""
        padded = np.zeros((self.n_rows, self.inputs.features), self.dtype)
        padded[: self.out] = w
        bias = np.zeros((self.size_bytes - self.bias_offset_bytes) // self.element_bytes, self.dtype)
        bias[: self.out] = b
        return np.concatenate([_rows(self.inputs, self.n_rows).pack(padded), bias])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [out, in], [out]."""
        at = self.bias_offset_bytes // self.element_bytes
        return _rows(self.inputs, self.n_rows).unpack(flat[:at])[: self.out], flat[at : at + self.out].copy()

    def __str__(self) -> str:
        return f"[{self.n_rows}][{self.inputs.stride}] + bias"


@dataclass(frozen=True)
class DenseWeightsByOutput:
    """`[out/V][inputs padded to 4][V]`, then the bias `[out/V][V]`: lanes are outputs. Pad lanes and rows are zero.

    Inputs are in the order of the layer's input rows, and outputs padded as those of its output rows.
    """

    out: int
    inputs: Rows
    block: int
    dtype: str

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_blocks(self) -> int:
        return round_up(self.out, max(self.block, DENSE_QUAD)) // self.block

    @property
    def n_rows(self) -> int:
        """Inputs padded to a multiple of 4; where they are an image's, with its pad lanes."""
        if self.inputs.source is not None:
            return self.inputs.stride
        return round_up(self.inputs.features, DENSE_QUAD)

    @property
    def n_quads(self) -> int:
        """Of 4 inputs, which the weight gradient's kernel computes together."""
        return self.n_rows // DENSE_QUAD

    @property
    def row_bytes(self) -> int:
        """From an input to the next, within a block of outputs."""
        return self.block * self.element_bytes

    @property
    def vector_bytes(self) -> int:
        """From a vector of an input's outputs to the next."""
        return self.n_rows * self.row_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_blocks * self.vector_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + self.n_blocks * self.row_bytes

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[out, in] (canonical input order) and [out] -> flat elements."""
        rows = np.zeros((self.n_blocks * self.block, self.n_rows), self.dtype)
        ordered = _rows(self.inputs, self.out).pack(np.asarray(w)).reshape(self.out, -1)
        rows[: self.out, : ordered.shape[1]] = ordered[:, : self.n_rows]
        blocked = rows.reshape(self.n_blocks, self.block, self.n_rows).transpose(0, 2, 1)
        bias = np.zeros(self.n_blocks * self.block, self.dtype)
        bias[: self.out] = b
        return np.concatenate([blocked.reshape(-1), bias])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [out, in], [out]."""
        at = self.bias_offset_bytes // self.element_bytes
        rows = flat[:at].reshape(self.n_blocks, self.n_rows, self.block).transpose(0, 2, 1).reshape(-1, self.n_rows)
        ordered = np.zeros((self.out, self.inputs.stride), self.dtype)
        ordered[:, : self.n_rows] = rows[: self.out]
        return _rows(self.inputs, self.out).unpack(ordered.reshape(-1)), flat[at : at + self.out].copy()

    def __str__(self) -> str:
        return f"[{self.n_blocks}][{self.n_rows}][{self.block}] + bias"


def _rows(inputs: Rows, n: int) -> Rows:
    """n rows as those of the inputs."""
    source = inputs.source
    if source is not None:
        source = Image(n, source.c, source.h, source.w, source.block, inputs.dtype)
    return Rows(n, inputs.features, inputs.block, inputs.dtype, source)
