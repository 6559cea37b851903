"""Weights of a convolution: lanes are its output channels, or its input channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout.units import ELEMENT_BYTES, round_up


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
        """Bytes from the parameters' start to w[oc][c][kh][kw]."""
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
