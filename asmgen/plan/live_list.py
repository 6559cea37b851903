"""Where the live entries of a pooled gradient lie: what LiveEntries writes and Conv2dBackwardInputSparse walks.

A sample's list is [channel set][h][w][oc of the set] gradients, dy's own values with a set's channels side by side,
then, each from a multiple of 64 bytes, masks and codes, in one of two forms:

- A mask for each position of the window, and no codes: [channel set][h][w][position] u64; bit k of position p's mask
  is 1 where channel k of the set is not zero and its code names p. The reader knows the position of every entry when
  its code is generated, so the sums stay in registers; but it looks at every mask, whether it has entries or not.
- One mask and the codes: [channel set][h][w] u64, bit k 1 where channel k is not zero, and
  [channel set][h][w][oc of the set] u8, the position that each channel's entry has (anything where it is not live). The
  reader's work does not depend on the window, but its sums lie in memory. For large windows, and where few registers
  meet large kernels.

So a list has a fixed size and any part of it is found without reading what lies before, and it takes less room than
pairs of (weights, gradient) as soon as a quarter of the entries are live.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout import LINE_BYTES, ConvWeights, Image, round_up

MASK_BYTES = 8
MASK_BITS = 64
MAX_MASKS = 32  # of a pixel; more take as much code and time as sums in memory, or more
_L1_WEIGHT_BYTES = 36 * 1024  # weights of a channel set for one vector of input channels, walked over and over


@dataclass(frozen=True)
class LiveList:
    """The lists of the samples of dy, a channel set being `set_blocks` channel blocks; positions are a window's.

    has_codes: whether a pixel has codes and one mask, instead of a mask for each position.

    The channels that the last set lacks, and mask bits that no channel has, are not live; their gradients and codes
    are reserved but not written.
    """

    dy: Image
    set_blocks: int
    n_positions: int
    has_codes: bool

    @staticmethod
    def of(weights: ConvWeights, dy: Image, n_positions: int, has_codes: bool) -> LiveList:
        """Channel sets as large as a mask and L1 allow, and of even size."""
        block_bytes = weights.by_input().oc_bytes * dy.block
        most = max(1, min(MASK_BITS // dy.block, _L1_WEIGHT_BYTES // block_bytes))
        n_channel_sets = -(-dy.n_c_blocks // most)
        return LiveList(dy, -(-dy.n_c_blocks // n_channel_sets), n_positions, has_codes)

    @property
    def n_masks(self) -> int:
        """Of a pixel."""
        return 1 if self.has_codes else self.n_positions

    @property
    def set_channels(self) -> int:
        """Channels of a set."""
        return self.set_blocks * self.dy.block

    @property
    def n_channel_sets(self) -> int:
        return -(-self.dy.n_c_blocks // self.set_blocks)

    @property
    def gradient_pixel_bytes(self) -> int:
        """From a pixel's gradients to those of its right neighbour."""
        return self.set_channels * self.dy.element_bytes

    @property
    def gradient_row_bytes(self) -> int:
        return self.dy.w * self.gradient_pixel_bytes

    @property
    def mask_pixel_bytes(self) -> int:
        """From a pixel's masks to those of its right neighbour."""
        return self.n_masks * MASK_BYTES

    @property
    def mask_row_bytes(self) -> int:
        return self.dy.w * self.mask_pixel_bytes

    @property
    def code_pixel_bytes(self) -> int:
        """From a pixel's codes to those of its right neighbour."""
        return self.set_channels if self.has_codes else 0

    @property
    def code_row_bytes(self) -> int:
        return self.dy.w * self.code_pixel_bytes

    @property
    def masks_offset_bytes(self) -> int:
        """From a sample's gradients to its masks."""
        return round_up(self.n_channel_sets * self.dy.h * self.gradient_row_bytes, LINE_BYTES)

    @property
    def codes_offset_bytes(self) -> int:
        """From a sample's gradients to its codes."""
        return self.masks_offset_bytes + round_up(self.n_channel_sets * self.dy.h * self.mask_row_bytes, LINE_BYTES)

    @property
    def sample_bytes(self) -> int:
        return self.codes_offset_bytes + round_up(self.n_channel_sets * self.dy.h * self.code_row_bytes, LINE_BYTES)

    @property
    def size_bytes(self) -> int:
        return self.dy.n * self.sample_bytes

    def pack(self, windows: np.ndarray) -> np.ndarray:
        """[n, c, h, w, position] gradients, at most one of a window not zero -> bytes of this layout."""
        n, h, w = self.dy.n, self.dy.h, self.dy.w
        padded = np.zeros((n, self.n_channel_sets * self.set_channels, h, w, self.n_positions), self.dy.dtype)
        padded[:, : self.dy.c] = windows
        sets = n, self.n_channel_sets, self.set_channels, h, w, self.n_positions
        by_set = padded.reshape(sets).transpose(0, 1, 3, 4, 5, 2)
        live = by_set != 0
        codes = live.argmax(4).astype(np.uint8)
        if self.has_codes:
            live = live.any(4, keepdims=True)
        bits = np.uint64(1) << np.arange(self.set_channels, dtype=np.uint64)
        masks = (live * bits).sum(-1, dtype=np.uint64)
        flat = np.zeros((n, self.sample_bytes), np.uint8)
        parts = by_set.sum(4), masks, codes
        for target, part in zip(self._split(flat), parts, strict=True):
            target[:] = np.ascontiguousarray(part.reshape(n, -1)).view(np.uint8)[:, : target.shape[1]]
        return flat.reshape(-1)

    def unpack(self, flat: np.ndarray) -> np.ndarray:
        """Bytes of this layout -> [n, c, h, w, position] gradients, zero where the masks say not live."""
        n, h, w = self.dy.n, self.dy.h, self.dy.w
        gradient_bytes, mask_bytes, codes = map(np.ascontiguousarray, self._split(flat.reshape(n, self.sample_bytes)))
        gradients = gradient_bytes.view(self.dy.dtype)
        masks = mask_bytes.view(np.uint64).reshape(n, self.n_channel_sets, h, w, self.n_masks, 1)
        live = (masks >> np.arange(MASK_BITS, dtype=np.uint64)) & np.uint64(1)
        in_last = self.dy.c - (self.n_channel_sets - 1) * self.set_channels
        if live[..., self.set_channels :].any() or live[:, -1, ..., in_last:].any():
            raise ValueError("a mask names a channel that dy does not have")
        live = live[..., : self.set_channels] == 1
        if self.has_codes:
            named = codes.reshape(n, self.n_channel_sets, h, w, 1, self.set_channels)
            if (named >= self.n_positions)[live].any():
                raise ValueError(f"the code of a live entry is none of the window's {self.n_positions} positions")
            live = live & (named == np.arange(self.n_positions).reshape(-1, 1))
        values = np.where(live, gradients.reshape(n, self.n_channel_sets, h, w, 1, self.set_channels), 0)
        return values.transpose(0, 1, 5, 2, 3, 4).reshape(n, -1, h, w, self.n_positions)[:, : self.dy.c].copy()

    def _split(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views of the gradients, of the masks and of the codes in [n, sample_bytes] bytes."""
        n_rows = self.n_channel_sets * self.dy.h
        masks_at, codes_at = self.masks_offset_bytes, self.codes_offset_bytes
        return (
            samples[:, : n_rows * self.gradient_row_bytes],
            samples[:, masks_at : masks_at + n_rows * self.mask_row_bytes],
            samples[:, codes_at : codes_at + n_rows * self.code_row_bytes],
        )

    def __str__(self) -> str:
        sets = f"[{self.dy.n}][{self.n_channel_sets}][{self.dy.h}][{self.dy.w}]"
        masks = f"u64 {sets}" + ("" if self.has_codes else f"[{self.n_positions}]")
        codes = f" + u8 {sets}[{self.set_channels}]" if self.has_codes else ""
        return f"{sets}[{self.set_channels}] + {masks}{codes}"
