"""Forward convolution with bias, activation and pooling in one kernel; lanes are output channels.

Where lanes are pixels, for first layers with few output channels: asmgen/kernels/conv/conv2d_fwd_pixel_lanes.py.

    y = pool(act(z)),   z[n,oc,oh,ow] = b[oc] + sum over c,i,j of x[n,c,oh*sh+i-pt,ow*sw+j-pl] * w[oc,c,i,j]

A tile of pixels (whole pooling windows) x vectors of output channels is summed in registers over all channels and
taps, so z never reaches memory. The rows of x that a row of tiles reads stay in L1 while the groups of output channels
pass over them; their weights stream from L2. Every sum is one chain that starts at the bias.
"""

from __future__ import annotations

from typing import Any

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.conv import conv2d_fwd_pixel_lanes
from asmgen.kernels.conv.conv2d_body import (
    NOTES,
    Accumulators,
    Reduction,
    Taps,
    accumulate,
    alloc_accumulators,
    free_accumulators,
)
from asmgen.kernels.conv.conv2d_fwd_frame import ForwardKernel
from asmgen.plan.specs import Conv2dForward
from asmgen.tile.common.count_text import advance
from asmgen.tile.conv.conv2d_body import RegisterTile
from asmgen.tile.conv.conv2d_fwd import ForwardTile, Group, choose_tile
from asmgen.tile.conv.conv2d_fwd_pixel_lanes import PixelTile


def emit(spec: Conv2dForward, isa: Isa, tile: ForwardTile | PixelTile | None = None) -> Listing:
    """The kernel of one shape: rdi x or pixels, rsi w (bias behind), rdx y, rcx codes (both overwritten), slice of
    samples.

    Raises ValueError when a pooling window has more pixels than the register file takes.
    """
    tile = tile or choose_tile(spec, isa)
    if isinstance(tile, PixelTile):
        return conv2d_fwd_pixel_lanes.emit(spec, isa, tile)
    return _Kernel(spec, isa, tile).emit()


class _Kernel(ForwardKernel):
    def __init__(self, spec: Conv2dForward, isa: Isa, tile: ForwardTile) -> None:
        super().__init__(spec, isa, tile, "asmgen/kernels/conv/conv2d_fwd.py", NOTES)
        self.tile = tile
        below = (self.ph - 1) * self.conv.sh + self.weights.kh
        next_rows = range(below, below + self.ph * self.conv.sh * tile.prefetches)
        self.reduction = Reduction(self.x_layout, spec.conv.weights, tile.unroll_rows, tile.channels, next_rows)
        cols = tuple((j, j) for j in range(self.weights.kw))
        self.taps = Taps(self.weights.kh, 1, 1, self.conv.sh, self.conv.sw, cols)

    def _row(self) -> None:
        y, n_blocks = self.y_layout, self.weights.n_oc_blocks
        for group in self.tile.groups:
            with self.asm.loop("oc", group.count, on_stack=True):
                self._group(group)
        self.asm.move(self.x, self.ph * self.conv.sh * self.x_layout.row_bytes, "x: rows under the next row of y")
        self.asm.move(self.w, -n_blocks * self.weights.oc_block_bytes, "w: back to the first block of output channels")
        if self.bias is not None:
            self.asm.move(self.bias, -n_blocks * self.weights.tap_bytes, "bias: back to its first vector")
        self.asm.move(self.y, y.row_bytes - n_blocks * y.plane_bytes, "y: next row + halo, first block of channels")
        if self.codes is not None:
            self.asm.move(
                self.codes, self._code_row_bytes() * (1 - n_blocks * y.h), "codes: next row, first block of channels"
            )

    def _group(self, group: Group) -> None:
        """One row of y of one group of output channels: all tiles."""
        asm, y, vectors = self.asm, self.y_layout, group.vectors
        for run in group.runs:
            tile = run.tile
            with asm.loop("ow", run.count, on_stack=True):
                self._tile(tile)
                asm.move(
                    self.x,
                    tile.cols * self.conv.sw * self.x_layout.pixel_bytes,
                    f"x: {advance(tile.cols * self.conv.sw, 'pixel')}",
                )
                asm.move(self.y, tile.cols // self.pw * y.pixel_bytes, f"y: {advance(tile.cols // self.pw, 'pixel')}")
                if self.codes is not None:
                    asm.move(
                        self.codes,
                        tile.cols // self.pw * y.code_pixel_bytes,
                        f"codes: {advance(tile.cols // self.pw, 'pixel')}",
                    )
        asm.move(self.x, -self.conv.ow * self.conv.sw * self.x_layout.pixel_bytes, "x: back to the first column")
        asm.move(self.w, vectors * self.weights.oc_block_bytes, f"w: {advance(vectors, 'block')} of output channels")
        if self.bias is not None:
            asm.move(self.bias, vectors * self.weights.tap_bytes, f"bias: {advance(vectors, 'vector')}")
        asm.move(
            self.y,
            vectors * y.plane_bytes - y.w * y.pixel_bytes,
            f"y: {advance(vectors, 'block')} of channels, first column",
        )
        if self.codes is not None:
            asm.move(
                self.codes,
                self._code_row_bytes() * (vectors * y.h - 1),
                f"codes: {advance(vectors, 'block')} of channels, first column",
            )

    def _tile(self, tile: RegisterTile) -> None:
        asm = self.asm
        asm.comment(f"tile: {tile}")
        acc = alloc_accumulators(asm, tile)
        self._start(acc)
        accumulate(asm, self.reduction, self.taps, tile, acc, self.x, self.w)
        self.epilogue.store(acc, self.y, self.codes)
        free_accumulators(asm, acc)

    def _start(self, acc: Accumulators) -> None:
        """acc = bias, or 0."""
        pixels: list[list[Any]] = [pixel for row in acc for pixel in row]
        for pixel in pixels:
            for g, register in enumerate(pixel):
                if self.bias is None:
                    self.asm.v.zero(register)
                elif pixel is pixels[0]:
                    self.asm.v.load(register, [self.bias + g * self.weights.tap_bytes])
                    self.asm.note(f"bias[{g}]")
                else:
                    self.asm.v.mov(register, pixels[0][g])
