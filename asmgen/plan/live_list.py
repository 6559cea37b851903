"""Where the live entries of a pooled gradient lie: what LiveEntries writes and Conv2dBackwardInputSparse walks.

A sample's list is [group][h][w][oc of the group] gradients, dy's own values with a group's channels side by side,
then (from a multiple of 64 bytes) [group][h][w][position] u64 masks: bit k of position p's mask is set where channel
k of the group is not zero and its code names p. A set bit is an entry. So a list has a fixed size and any part of it
is found without reading what lies before, and it takes less room than pairs of (weights, gradient) as soon as a
quarter of the entries are live.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asmgen.plan.layout import LINE_BYTES, ConvWeights, Image, round_up

MASK_BYTES = 8
MASK_BITS = 64
_L1_WEIGHT_BYTES = 36 * 1024  # weights of a group for one vector of input channels, walked over and over


@dataclass(frozen=True)
class LiveList:
    """The lists of the samples of dy, a group being `group_blocks` channel blocks; positions are a window's.

    The channels that the last group lacks, and mask bits that no channel has, are not live; their gradients are
    reserved but not written.
    """

    dy: Image
    group_blocks: int
    n_positions: int

    @staticmethod
    def of(weights: ConvWeights, dy: Image, n_positions: int) -> LiveList:
        """Groups as large as a mask and L1 allow, and of even size."""
        block_bytes = weights.by_input().oc_bytes * dy.block
        most = max(1, min(MASK_BITS // dy.block, _L1_WEIGHT_BYTES // block_bytes))
        n_groups = -(-dy.n_c_blocks // most)
        return LiveList(dy, -(-dy.n_c_blocks // n_groups), n_positions)

    @property
    def group(self) -> int:
        """Channels of a group."""
        return self.group_blocks * self.dy.block

    @property
    def n_groups(self) -> int:
        return -(-self.dy.n_c_blocks // self.group_blocks)

    @property
    def gradient_pixel_bytes(self) -> int:
        """From a pixel's gradients to those of its right neighbour."""
        return self.group * self.dy.element_bytes

    @property
    def gradient_row_bytes(self) -> int:
        return self.dy.w * self.gradient_pixel_bytes

    @property
    def mask_pixel_bytes(self) -> int:
        """From a pixel's masks to those of its right neighbour."""
        return self.n_positions * MASK_BYTES

    @property
    def mask_row_bytes(self) -> int:
        return self.dy.w * self.mask_pixel_bytes

    @property
    def masks_offset_bytes(self) -> int:
        """From a sample's gradients to its masks."""
        return round_up(self.n_groups * self.dy.h * self.gradient_row_bytes, LINE_BYTES)

    @property
    def sample_bytes(self) -> int:
        return round_up(self.masks_offset_bytes + self.n_groups * self.dy.h * self.mask_row_bytes, LINE_BYTES)

    @property
    def size_bytes(self) -> int:
        return self.dy.n * self.sample_bytes

    def pack(self, windows: np.ndarray) -> np.ndarray:
        """[n, c, h, w, position] gradients, at most one of a window not zero -> bytes of this layout."""
        n, h, w = self.dy.n, self.dy.h, self.dy.w
        padded = np.zeros((n, self.n_groups * self.group, h, w, self.n_positions), self.dy.dtype)
        padded[:, : self.dy.c] = windows
        grouped = padded.reshape(n, self.n_groups, self.group, h, w, self.n_positions).transpose(0, 1, 3, 4, 5, 2)
        bits = np.uint64(1) << np.arange(self.group, dtype=np.uint64)
        masks = ((grouped != 0) * bits).sum(-1, dtype=np.uint64)
        flat = np.zeros((n, self.sample_bytes), np.uint8)
        gradients, mask_bytes = self._split(flat)
        gradients[:] = np.ascontiguousarray(grouped.sum(4).reshape(n, -1)).view(np.uint8)
        mask_bytes[:] = np.ascontiguousarray(masks.reshape(n, -1)).view(np.uint8)
        return flat.reshape(-1)

    def unpack(self, flat: np.ndarray) -> np.ndarray:
        """Bytes of this layout -> [n, c, h, w, position] gradients, zero where the masks say not live."""
        n, h, w = self.dy.n, self.dy.h, self.dy.w
        gradient_bytes, mask_bytes = self._split(flat.reshape(n, self.sample_bytes))
        gradients = np.ascontiguousarray(gradient_bytes).view(self.dy.dtype)
        masks = np.ascontiguousarray(mask_bytes).view(np.uint64)
        masks = masks.reshape(n, self.n_groups, h, w, self.n_positions, 1)
        live = (masks >> np.arange(MASK_BITS, dtype=np.uint64)) & np.uint64(1)
        if live[..., self.group :].any() or live[:, -1, ..., self.dy.c - (self.n_groups - 1) * self.group :].any():
            raise ValueError("a mask names a channel that dy does not have")
        live = live[..., : self.group] == 1
        values = np.where(live, gradients.reshape(n, self.n_groups, h, w, 1, self.group), 0)
        return values.transpose(0, 1, 5, 2, 3, 4).reshape(n, -1, h, w, self.n_positions)[:, : self.dy.c].copy()

    def _split(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of the gradients and of the masks in [n, sample_bytes] bytes."""
        gradient_bytes = self.n_groups * self.dy.h * self.gradient_row_bytes
        mask_bytes = self.n_groups * self.dy.h * self.mask_row_bytes
        at = self.masks_offset_bytes
        return samples[:, :gradient_bytes], samples[:, at : at + mask_bytes]

    def __str__(self) -> str:
        groups = f"[{self.dy.n}][{self.n_groups}][{self.dy.h}][{self.dy.w}]"
        return f"{groups}[{self.group}] + u64 {groups}[{self.n_positions}]"
