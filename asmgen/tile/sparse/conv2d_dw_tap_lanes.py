"""Tiles of the weight gradient behind a max pool whose lanes are the taps of a kernel's row: for few output channels.

With output channels in lanes (asmgen/tile/sparse/conv2d_dw_pooled.py) a pooled pixel costs a multiply-add for every tap
and every position of the window, whatever the number of channels. Here the code of each channel leads to the one patch
of x that its gradient meets, and each row of that patch is one unaligned vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dBackwardWeightsPooled
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import MACHINES, Candidate, ranked
from asmgen.tile.input.pixel_strip import band_rows

SUMS_BYTES = 16 * 1024  # of the frame: they are near when the next band comes
STRIP_BYTES = 24 * 1024  # of pixels as numbers, beside the gradient in L1
_VIEW_BYTES = (16, 32, 64)
_PIXEL_CYCLES, _TILE_CYCLES = 2.0, 60.0  # loops around a pooled pixel; sums fetched and put back for a band


@dataclass(frozen=True)
class TapTile:
    """out_channels x channels x kernel_rows sums, each of `vectors` x `view_bytes` that hold a row of taps.

    rows: pooled rows of a band.
    """

    out_channels: int
    channels: int
    kernel_rows: int
    vectors: int
    view_bytes: int
    rows: int

    @property
    def n_accumulators(self) -> int:
        return self.out_channels * self.channels * self.kernel_rows * self.vectors

    @property
    def row_bytes(self) -> int:
        """Of a kernel's row among the sums."""
        return self.vectors * self.view_bytes

    def __str__(self) -> str:
        sums = f"{counted(self.out_channels, 'output channel')} x {counted(self.channels, 'channel')}"
        rows = f"{counted(self.kernel_rows, 'kernel row')} of {counted(self.vectors, 'vector')} of {self.view_bytes} B"
        bands = f"bands of {counted(self.rows, 'pooled row')}"
        return f"lanes are taps: {sums} x {rows} = {counted(self.n_accumulators, 'sum')}; {bands}"


def candidates(spec: Conv2dBackwardWeightsPooled, isa: Isa) -> tuple[Candidate[TapTile], ...]:
    """Every tile that the registers hold, ranked; none where x is stored.

    A vector of taps reads on behind a row, where a stored x may end; the kernel's own strip does not.
    """
    weights = spec.conv.weights
    if spec.conv.pixels is None:
        return ()
    n_pixels = spec.dy.n * spec.dy.h * spec.dy.w * weights.n_oc_blocks
    return ranked(Candidate(tile, n_pixels * _cycles(spec, isa, tile)) for tile in _tiles(spec, isa))


def block_channels(spec: Conv2dBackwardWeightsPooled) -> int:
    """Output channels that are summed in each block: of several blocks, pad lanes too."""
    return min(spec.conv.weights.oc, spec.conv.weights.block)


def has_pad_lanes(spec: Conv2dBackwardWeightsPooled) -> bool:
    """Whether pad lanes are summed: their gradients are zero, but their codes are anything."""
    return spec.conv.weights.oc % block_channels(spec) != 0


def strip_cols(spec: Conv2dBackwardWeightsPooled, tile: TapTile) -> int:
    """Columns of z for which the strip has pixels: vectors reach behind the last column's taps."""
    conv = spec.conv
    beyond = tile.row_bytes // conv.weights.element_bytes - conv.weights.kw
    return conv.ow + -(-beyond // conv.sw)


def sums_bytes(spec: Conv2dBackwardWeightsPooled, tile: TapTile) -> int:
    """Of all blocks of output channels."""
    return spec.conv.weights.n_oc_blocks * block_sums_bytes(spec, tile)


def block_sums_bytes(spec: Conv2dBackwardWeightsPooled, tile: TapTile) -> int:
    """From the sums of a block of output channels to the next."""
    weights = spec.conv.weights
    return block_channels(spec) * weights.c * weights.kh * tile.row_bytes


def _tiles(spec: Conv2dBackwardWeightsPooled, isa: Isa) -> Iterator[TapTile]:
    weights = spec.conv.weights
    taps_bytes = weights.kw * weights.element_bytes
    view_bytes = next((size for size in _VIEW_BYTES if taps_bytes <= size), isa.vector_bytes)
    view_bytes = min(view_bytes, isa.vector_bytes)
    vectors = -(-taps_bytes // view_bytes)
    budget = isa.n_vregs - (1 if isa.has_fma else 2)  # the gradient; a product
    for out_channels in range(1, block_channels(spec) + 1):
        for channels in range(1, weights.c + 1):
            for kernel_rows in range(1, weights.kh + 1):
                tile = TapTile(out_channels, channels, kernel_rows, vectors, view_bytes, 1)
                if tile.n_accumulators > budget or sums_bytes(spec, tile) > SUMS_BYTES:
                    break
                cols = strip_cols(spec, tile)
                rows = band_rows(spec.conv, spec.dy.h, spec.pool, STRIP_BYTES, cols)
                yield TapTile(out_channels, channels, kernel_rows, vectors, view_bytes, rows)


def _cycles(spec: Conv2dBackwardWeightsPooled, isa: Isa, tile: TapTile) -> float:
    """Predicted cycles per pooled pixel: every output channel loads its code, the patch's place and its gradient."""
    machine, weights = MACHINES[isa.name], spec.conv.weights
    crossing = 1 + (tile.view_bytes - weights.element_bytes) / 64
    total = 0.0
    for n_k, k in parts(block_channels(spec), tile.out_channels):
        for n_c, c in parts(weights.c, tile.channels):
            for n_i, i in parts(weights.kh, tile.kernel_rows):
                macs = c * i * tile.vectors
                loads = macs * crossing + 3
                instructions = (macs if isa.has_fma else 3 * macs) + 4
                arithmetic = macs / machine.multiply_adds if isa.has_fma else 2 * macs / machine.vector_ports
                entry = max(arithmetic, loads / machine.loads, instructions / machine.issue)
                times = n_k * n_c * n_i
                band = _TILE_CYCLES / (tile.rows * spec.dy.w)
                total += times * (max(k * entry, machine.latency) + _PIXEL_CYCLES + band)
    return total
