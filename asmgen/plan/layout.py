"""Where every element of every tensor lies: the only place that turns shapes into strides and bytes.

Layouts are described in docs/architecture.md. All of them are frozen and know how to pack a plain NumPy array into
their flat form and back, which is how the reference and the tests look at a kernel's memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ELEMENT_BYTES = {"float32": 4, "float64": 8}
LINE_BYTES = 64  # alignment of every tensor in the arena
DENSE_ROW_GROUP = 4  # outputs a dense kernel computes together on every ISA


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is >= value."""
    return -(-value // multiple) * multiple


@dataclass(frozen=True)
class Halo:
    """Zero rows and columns around an image, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return (self.top, self.bottom, self.left, self.right) != (0, 0, 0, 0)

    def __str__(self) -> str:
        return f"{self.top}/{self.bottom}/{self.left}/{self.right}" if self else "none"


NO_HALO = Halo()


@dataclass(frozen=True)
class Image:
    """`n C/block h w block`, channels padded to the block, halo around h and w.

    block is V (lanes are channels) or 1 (plain planes, the network's input). Sizes are in elements unless named
    `*_bytes`. Coordinates h, w are of the interior; the halo has negative ones and those >= h, w.
    """

    n: int
    c: int
    h: int
    w: int
    block: int
    dtype: str
    halo: Halo = NO_HALO

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_c_blocks(self) -> int:
        return -(-self.c // self.block)

    @property
    def c_tail(self) -> int:
        """Channels in the last block (1..block)."""
        return self.c - (self.n_c_blocks - 1) * self.block

    @property
    def rows(self) -> int:
        return self.h + self.halo.top + self.halo.bottom

    @property
    def cols(self) -> int:
        return self.w + self.halo.left + self.halo.right

    @property
    def pixel_bytes(self) -> int:
        """From a pixel to its right neighbour."""
        return self.block * self.element_bytes

    @property
    def row_bytes(self) -> int:
        return self.cols * self.pixel_bytes

    @property
    def plane_bytes(self) -> int:
        """From a channel block to the next."""
        return self.rows * self.row_bytes

    @property
    def sample_bytes(self) -> int:
        bytes_ = self.n_c_blocks * self.plane_bytes
        return round_up(bytes_, LINE_BYTES) if self.block == 1 else bytes_

    @property
    def size_bytes(self) -> int:
        return self.n * self.sample_bytes

    @property
    def code_pixel_bytes(self) -> int:
        """u8 codes of one pooled pixel and channel block; they lie in the image's order, without halo."""
        return self.block

    @property
    def code_sample_bytes(self) -> int:
        return self.n_c_blocks * self.h * self.w * self.code_pixel_bytes

    def offset_bytes(self, n: int = 0, c: int = 0, h: int = 0, w: int = 0) -> int:
        """Of element (n, c, h, w) from the tensor's first byte."""
        block, lane = divmod(c, self.block)
        return (
            n * self.sample_bytes
            + block * self.plane_bytes
            + (h + self.halo.top) * self.row_bytes
            + (w + self.halo.left) * self.pixel_bytes
            + lane * self.element_bytes
        )

    def pack(self, array: np.ndarray) -> np.ndarray:
        """[n, c, h, w] -> flat elements of this layout, pad lanes and halo zero."""
        if array.shape != (self.n, self.c, self.h, self.w):
            raise ValueError(f"array {array.shape} is not {(self.n, self.c, self.h, self.w)}")
        halo = self.halo
        pads = (0, 0), (0, self.n_c_blocks * self.block - self.c), (halo.top, halo.bottom), (halo.left, halo.right)
        padded = np.pad(np.asarray(array, self.dtype), pads)
        blocked = padded.reshape(self.n, self.n_c_blocks, self.block, self.rows, self.cols).transpose(0, 1, 3, 4, 2)
        flat = np.zeros((self.n, self.sample_bytes // self.element_bytes), self.dtype)
        flat[:, : blocked[0].size] = blocked.reshape(self.n, -1)
        return flat.reshape(-1)

    def unpack(self, flat: np.ndarray) -> np.ndarray:
        """Flat elements -> [n, c, h, w], without halo and pad lanes."""
        return self._padded(flat)[:, : self.c, self.halo.top :, self.halo.left :][:, :, : self.h, : self.w].copy()

    def padding_is_zero(self, flat: np.ndarray) -> bool:
        """Whether pad lanes and halo hold zeros (invariant 1 of the architecture)."""
        return np.array_equal(self.pack(self.unpack(flat)), flat.reshape(-1))

    def _padded(self, flat: np.ndarray) -> np.ndarray:
        samples = flat.reshape(self.n, -1)[:, : self.n_c_blocks * self.rows * self.cols * self.block]
        blocked = samples.reshape(self.n, self.n_c_blocks, self.rows, self.cols, self.block)
        return blocked.transpose(0, 1, 4, 2, 3).reshape(self.n, -1, self.rows, self.cols)

    def __str__(self) -> str:
        halo = f" halo {self.halo}" if self.halo else ""
        return f"[{self.n}][{self.n_c_blocks}][{self.rows}][{self.cols}][{self.block}]{halo}"


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
        return round_up(self.features, max(self.block, DENSE_ROW_GROUP))

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


@dataclass(frozen=True)
class ConvWeights:
    """`[oc/V][c][kh][kw][V]`, then the bias `[oc/V][V]`: lanes are output channels. Pad lanes are zero."""

    oc: int
    c: int
    kh: int
    kw: int
    block: int
    dtype: str

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_oc_blocks(self) -> int:
        return -(-self.oc // self.block)

    @property
    def tap_bytes(self) -> int:
        return self.block * self.element_bytes

    @property
    def row_bytes(self) -> int:
        """From a row of taps to the next."""
        return self.kw * self.tap_bytes

    @property
    def channel_bytes(self) -> int:
        """From an input channel to the next."""
        return self.kh * self.row_bytes

    @property
    def oc_block_bytes(self) -> int:
        return self.c * self.channel_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_oc_blocks * self.oc_block_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + self.n_oc_blocks * self.tap_bytes

    def offset_bytes(self, oc: int, c: int, kh: int, kw: int) -> int:
        block, lane = divmod(oc, self.block)
        return (
            block * self.oc_block_bytes
            + c * self.channel_bytes
            + (kh * self.kw + kw) * self.tap_bytes
            + lane * self.element_bytes
        )

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[oc, c, kh, kw] and [oc] -> flat elements."""
        pad = self.n_oc_blocks * self.block - self.oc
        blocked = np.pad(np.asarray(w, self.dtype), ((0, pad), (0, 0), (0, 0), (0, 0)))
        blocked = blocked.reshape(self.n_oc_blocks, self.block, self.c, self.kh, self.kw).transpose(0, 2, 3, 4, 1)
        return np.concatenate([blocked.reshape(-1), np.pad(np.asarray(b, self.dtype), (0, pad))])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [oc, c, kh, kw], [oc]."""
        at = self.bias_offset_bytes // self.element_bytes
        blocked = flat[:at].reshape(self.n_oc_blocks, self.c, self.kh, self.kw, self.block)
        w = blocked.transpose(0, 4, 1, 2, 3).reshape(-1, self.c, self.kh, self.kw)[: self.oc]
        return w.copy(), flat[at : at + self.oc].copy()

    def input_gradient(self) -> ConvWeights:
        """The layout of the copy with lanes = input channels, `[c/V][oc][kh][kw][V]` (no bias is stored behind it)."""
        return ConvWeights(self.c, self.oc, self.kh, self.kw, self.block, self.dtype)

    def by_input(self) -> ConvWeightsByInput:
        """The same weights with lanes = input channels, bias behind."""
        return ConvWeightsByInput(self.oc, self.c, self.kh, self.kw, self.block, self.dtype)

    def __str__(self) -> str:
        return f"[{self.n_oc_blocks}][{self.c}][{self.kh}][{self.kw}][{self.block}] + bias"


@dataclass(frozen=True)
class ConvWeightsByInput:
    """`[c/V][oc][kh][kw][V]`, then the bias `[oc/V][V]`: lanes are input channels. Pad lanes are zero."""

    oc: int
    c: int
    kh: int
    kw: int
    block: int
    dtype: str

    @property
    def taps(self) -> ConvWeights:
        """The taps alone, seen as a convolution with oc and c swapped."""
        return ConvWeights(self.c, self.oc, self.kh, self.kw, self.block, self.dtype)

    def by_output(self) -> ConvWeights:
        """The same weights with lanes = output channels, bias behind."""
        return ConvWeights(self.oc, self.c, self.kh, self.kw, self.block, self.dtype)

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_c_blocks(self) -> int:
        return -(-self.c // self.block)

    @property
    def tap_bytes(self) -> int:
        return self.block * self.element_bytes

    @property
    def oc_bytes(self) -> int:
        """From an output channel to the next."""
        return self.kh * self.kw * self.tap_bytes

    @property
    def c_block_bytes(self) -> int:
        return self.oc * self.oc_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_c_blocks * self.c_block_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + round_up(self.oc, self.block) * self.element_bytes

    def offset_bytes(self, oc: int, c: int, kh: int, kw: int) -> int:
        return self.taps.offset_bytes(c, oc, kh, kw)

    def pack(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[oc, c, kh, kw] and [oc] -> flat elements."""
        taps = self.taps.pack(np.swapaxes(w, 0, 1), np.zeros(self.c))[: self.bias_offset_bytes // self.element_bytes]
        return np.concatenate([taps, np.pad(np.asarray(b, self.dtype), (0, round_up(self.oc, self.block) - self.oc))])

    def unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat elements -> [oc, c, kh, kw], [oc]."""
        at = self.bias_offset_bytes // self.element_bytes
        swapped, _ = self.taps.unpack(np.concatenate([flat[:at], np.zeros(round_up(self.c, self.block), self.dtype)]))
        return np.swapaxes(swapped, 0, 1).copy(), flat[at : at + self.oc].copy()

    def __str__(self) -> str:
        return f"[{self.n_c_blocks}][{self.oc}][{self.kh}][{self.kw}][{self.block}] + bias"


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
