"""Tiles of the sparse input gradient behind windows of many positions: a window's patch of dx lies on the frame.

With a mask for each position (asmgen/tile/sparse/conv2d_dx_sparse.py) the reader looks at every position of every
window, and most of many are empty. Here it walks the live channels of a window, whatever their positions are: a
channel's code is looked up in a table of offsets, and its products are added to the patch in memory. Loading and
storing the sums costs each entry more, but nothing depends on the size of the window except the patch, which goes to dx
once a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.layout import LINE_BYTES
from asmgen.plan.specs import Conv2dBackwardInputSparse
from asmgen.tile.cost import Candidate

MAX_PATCH_BYTES = 192 * 1024  # of the frame
_CODE_BYTES = 12 * 1024
_TAP_BYTES = 27  # of instructions for a tap
_L1_WEIGHT_BYTES = 40 * 1024  # weights of a channel set that stay in L1 from window to window
_FAR_WEIGHTS = 1.7  # the time of a tap whose weights come from L2, of one whose come from L1
_TAP_CYCLES, _LINE_TAP_CYCLES = 0.7, 1.2
_ENTRY_CYCLES = 16.0  # of an entry, beside its taps
_PIXEL_CYCLES = 3.0  # of the patch: cleared, then loaded, added and stored
_WINDOW_CYCLES = 30.0  # edges, loops, mispredicted ends


@dataclass(frozen=True)
class PatchTile:
    """`vectors` blocks of input channels at a time; the patch has rows x cols pixels of each."""

    vectors: int
    rows: int
    cols: int

    def __str__(self) -> str:
        vectors = f" x {self.vectors} vectors" if self.vectors > 1 else ""
        return f"a window's patch of {self.rows}x{self.cols} pixels{vectors} on the frame; every weight from memory"


def patch_bytes(spec: Conv2dBackwardInputSparse, tile: PatchTile) -> int:
    """Of the frame."""
    return tile.vectors * tile.rows * tile.cols * spec.dx.pixel_bytes


def tiles(spec: Conv2dBackwardInputSparse, isa: Isa, live_share: float) -> Iterator[Candidate[PatchTile]]:
    """The numbers of vectors whose patch and code are small enough; none where a single one is too large."""
    conv, pool, n_blocks = spec.conv, spec.pool, spec.dx.n_c_blocks
    weights = conv.weights
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    rows, cols = (ph - 1) * conv.sh + weights.kh, (pw - 1) * conv.sw + weights.kw
    n_windows = spec.dy.n * spec.dy.h * spec.dy.w * spec.live.n_channel_sets
    for vectors in range(1, n_blocks + 1):
        tile = PatchTile(vectors, rows, cols)
        code = vectors * weights.kh * weights.kw * _TAP_BYTES
        if patch_bytes(spec, tile) > MAX_PATCH_BYTES or (vectors > 1 and code > _CODE_BYTES):
            return
        if n_blocks % vectors == 0:
            yield Candidate(tile, n_windows * n_blocks / vectors * _cycles(spec, isa, tile, live_share))


def _cycles(spec: Conv2dBackwardInputSparse, isa: Isa, tile: PatchTile, live_share: float) -> float:
    """Of one window and one set of output channels; a tap is a load and a store, slower where they fill a line."""
    weights, n_channels = spec.conv.weights, min(spec.live.set_channels, spec.dy.c)
    n_macs = tile.vectors * weights.kh * weights.kw
    tap = _LINE_TAP_CYCLES if isa.vector_bytes == LINE_BYTES else _TAP_CYCLES
    if n_macs * isa.vector_bytes * n_channels > _L1_WEIGHT_BYTES:
        tap *= _FAR_WEIGHTS
    entries = live_share * n_channels * (_ENTRY_CYCLES + n_macs * tap)
    return entries + _PIXEL_CYCLES * tile.vectors * tile.rows * tile.cols + _WINDOW_CYCLES
