"""One number a channel: parameters of a normalisation, what it keeps from step to step, what it found in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from asmgen.plan.layout.image import Image
from asmgen.plan.layout.rows import Activations, Rows
from asmgen.plan.layout.units import ELEMENT_BYTES, LINE_BYTES


@dataclass(frozen=True)
class ChannelVectors:
    """`[blocks][V]` weights, then `[blocks][V]` biases. Pad lanes are zero.

    Channels are an image's, or the features of rows, in the order in which they lie there. `source`: the image whose
    flattened features they are.
    """

    c: int
    n_blocks: int
    block: int
    dtype: str
    source: Image | None = None

    @classmethod
    def of(cls, x: Activations) -> ChannelVectors:
        """For the channels of an image, or the features of rows."""
        if isinstance(x, Image):
            return cls(x.c, x.n_c_blocks, x.block, x.dtype)
        source = x.source and Image(1, x.source.c, x.source.h, x.source.w, x.source.block, x.dtype)
        return cls(x.features, x.n_vectors, x.block, x.dtype, source)

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def vector_bytes(self) -> int:
        """From a block of channels to the next."""
        return self.block * self.element_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_blocks * self.vector_bytes

    @property
    def size_bytes(self) -> int:
        return 2 * self.bias_offset_bytes

    def pack_one(self, values: np.ndarray) -> np.ndarray:
        """[c] -> flat elements of one of the two, pad lanes zero."""
        if self.source is not None:
            return self.source.pack(np.reshape(values, (1, self.source.c, self.source.h, self.source.w)))
        return np.pad(np.asarray(values, self.dtype), (0, self.n_blocks * self.block - self.c))

    def unpack_one(self, flat: np.ndarray) -> np.ndarray:
        """Flat elements of one of the two -> [c]."""
        return flat[: self.c].copy() if self.source is None else self.source.unpack(flat).reshape(-1)

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[c] and [c] -> flat elements."""
        return np.concatenate([self.pack_one(w), self.pack_one(b)])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [c], [c]."""
        w, b = np.split(flat, 2)
        return self.unpack_one(w), self.unpack_one(b)

    def __str__(self) -> str:
        return f"[{self.n_blocks}][{self.block}] + bias"


@dataclass(frozen=True)
class RunningVectors:
    """What a batch normalisation keeps: `[blocks][V]` means, `[blocks][V]` variances, then the steps seen, a u64."""

    vectors: ChannelVectors

    @property
    def var_offset_bytes(self) -> int:
        return self.vectors.bias_offset_bytes

    @property
    def count_offset_bytes(self) -> int:
        return self.vectors.size_bytes

    @property
    def size_bytes(self) -> int:
        return self.count_offset_bytes + LINE_BYTES

    def pack(self, mean: np.ndarray, var: np.ndarray, count: np.ndarray) -> np.ndarray:
        """[c], [c] and a number -> flat elements."""
        line = np.zeros(LINE_BYTES // 8, np.uint64)
        line[0] = int(count)
        return np.concatenate([self.vectors.pack(mean, var), line.view(self.vectors.dtype)])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat elements -> [c], [c], a number."""
        at = self.count_offset_bytes // self.vectors.element_bytes
        return *self.vectors.unpack(flat[:at]), np.asarray(flat[at:].view(np.uint64)[0], np.float64)

    def __str__(self) -> str:
        return f"2 x [{self.vectors.n_blocks}][{self.vectors.block}] + count"


@dataclass(frozen=True)
class NormTable:
    """What the kernels of a batch normalisation read of a block of channels: `[blocks][rows][V]`.

    Statistics of a batch have the rows of MOMENTS, the gradient's terms those of TERMS. "1/m" has the same number in
    every lane, m being the values of a channel in the batch; "present" has the samples that are there, as a u32 in its
    first four bytes.
    """

    vectors: ChannelVectors
    rows: tuple[str, ...]

    MOMENTS: ClassVar[tuple[str, ...]] = ("mean", "var", "rstd", "scale", "shift", "1/m", "present")
    TERMS: ClassVar[tuple[str, ...]] = ("mean", "scale", "shift", "db", "dw", "present")

    @property
    def block_bytes(self) -> int:
        """From a block of channels to the next."""
        return len(self.rows) * self.vectors.vector_bytes

    @property
    def size_bytes(self) -> int:
        return self.vectors.n_blocks * self.block_bytes

    def row_bytes(self, row: str) -> int:
        """From a block's first byte to a row."""
        return self.rows.index(row) * self.vectors.vector_bytes

    def row(self, flat: np.ndarray, row: str) -> np.ndarray:
        """Flat elements -> a row [c]."""
        blocks = flat.reshape(self.vectors.n_blocks, len(self.rows), self.vectors.block)
        return self.vectors.unpack_one(blocks[:, self.rows.index(row)].reshape(-1))

    def pack(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rows by name, [c] each, or a number for all lanes -> flat elements; rows that are not named are zero."""
        blocks = np.zeros((self.vectors.n_blocks, len(self.rows), self.vectors.block), self.vectors.dtype)
        for name, values in rows.items():
            if np.ndim(values):
                blocks[:, self.rows.index(name)] = self.vectors.pack_one(values).reshape(blocks[:, 0].shape)
            elif name == "present":
                count = np.zeros(self.vectors.vector_bytes // 4, np.uint32)
                count[0] = int(values)
                blocks[:, self.rows.index(name)] = count.view(self.vectors.dtype)
            else:
                blocks[:, self.rows.index(name)] = values
        return blocks.reshape(-1)

    def __str__(self) -> str:
        return f"[{self.vectors.n_blocks}][{len(self.rows)}][{self.vectors.block}]"


@dataclass(frozen=True)
class NormParts:
    """Two numbers of each sample and channel: `[n][blocks][2][V]`."""

    n: int
    vectors: ChannelVectors

    @classmethod
    def of(cls, x: Activations) -> NormParts:
        """For the samples and channels of x."""
        return cls(x.n, ChannelVectors.of(x))

    @property
    def sample_bytes(self) -> int:
        return self.vectors.size_bytes

    @property
    def size_bytes(self) -> int:
        return self.n * self.sample_bytes

    def pack(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """[n, c] and [n, c] -> flat elements."""
        blocks = (self.vectors.n_blocks, self.vectors.block)
        pairs = [
            np.stack([self.vectors.pack_one(values[n]).reshape(blocks) for values in (first, second)], 1)
            for n in range(self.n)
        ]
        return np.concatenate(pairs).reshape(-1)

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [n, c], [n, c]."""
        pairs = flat.reshape(self.n, self.vectors.n_blocks, 2, self.vectors.block)
        first, second = (
            np.stack([self.vectors.unpack_one(sample.reshape(-1)) for sample in pairs[:, :, which]])
            for which in range(2)
        )
        return first, second

    def __str__(self) -> str:
        return f"[{self.n}][{self.vectors.n_blocks}][2][{self.vectors.block}]"


def pixels_of(x: Activations) -> int:
    """Values of a channel in one sample: pixels of an image, 1 of rows."""
    return 1 if isinstance(x, Rows) else x.h * x.w
