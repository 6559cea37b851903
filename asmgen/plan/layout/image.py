"""Images: `n C/V h w V`, with a halo of zeros where the next layer wants one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout.units import ELEMENT_BYTES, LINE_BYTES, round_up


@dataclass(frozen=True)
class Halo:
    """Zero rows and columns around an image, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return (self.top, self.bottom, self.left, self.right) != (0, 0, 0, 0)

    def union(self, other: Halo) -> Halo:
        """The smallest halo that holds both."""
        return Halo(*(max(a, b) for a, b in zip(self.sides, other.sides, strict=True)))

    @property
    def sides(self) -> tuple[int, int, int, int]:
        return self.top, self.bottom, self.left, self.right

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
