"""Tiles of the input gradient behind a max pool: rectangles of pixels, and the patch of dz that they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from asmgen.cuda.common import cost, tile_gemm
from asmgen.cuda.common.tile_gemm import Product, Tile
from asmgen.plan.layout import round_up
from asmgen.plan.specs import Conv2dBackwardInputPooled

_PIECE_BYTES = 20  # 16 bytes of dy and 4 codes


@dataclass(frozen=True)
class Patch:
    """A block sums tile_h x tile_w pixels, the rows of `tile`; a step is a row of taps of a block of channels of dz."""

    tile: Tile
    tile_h: int
    tile_w: int
    h: int  # of dz: what the pixels read at all taps
    w: int
    windows: int  # of the pool that the patch touches, at most

    @staticmethod
    def of(spec: Conv2dBackwardInputPooled, tile: Tile, tile_w: int) -> Patch:
        """The rectangle of a tile that is `tile_w` wide."""
        weights, pool, tile_h = spec.conv.weights, spec.pool, tile.rows // tile_w
        h, w = tile_h + weights.kh - 1, tile_w + weights.kw - 1
        windows = (h + 2 * pool.ph - 2) // pool.ph * ((w + 2 * pool.pw - 2) // pool.pw)
        return Patch(replace(tile, stage_k_blocks=weights.kw), tile_h, tile_w, h, w, windows)

    @property
    def pieces(self) -> int:
        """Chunks of dy with their codes, of one block of output channels."""
        return 4 * self.windows

    @property
    def shared_bytes(self) -> int:
        """Weights of every stage, two patches, and dy."""
        weights = self.tile.stages * self.tile.stage_k_blocks * self.tile.columns * 64
        return weights + 2 * self.h * self.w * 64 + round_up(self.pieces, self.tile.threads) * _PIECE_BYTES

    @property
    def resident(self) -> int:
        """Blocks of a multiprocessor; at least 1."""
        return cost.resident(self.shared_bytes, self.tile.registers, self.tile.threads)

    def __str__(self) -> str:
        return f"{self.tile}; {self.tile_h} x {self.tile_w} pixels from patches of {self.h} x {self.w}"


def product(spec: Conv2dBackwardInputPooled, precision: str) -> Product:
    """The product of a spec with steps of one pixel."""
    weights, dx = spec.conv.weights, spec.dx
    taps = weights.kh * weights.kw
    return Product(
        windows=dx.n * dx.h * dx.w,
        window=1,
        columns=dx.n_c_blocks * dx.block,
        k=weights.oc * taps,
        k_blocks=weights.n_oc_blocks * taps,
        element_bytes=weights.element_bytes,
        precision=precision,
    )


def choose_patch(spec: Conv2dBackwardInputPooled, precision: str) -> Patch | None:
    """The patch with the fewest estimated cycles; None where none can be: strides, or kernels too large."""
    if (spec.conv.sh, spec.conv.sw) != (1, 1):
        return None
    shape = product(spec, precision)
    return min(
        _candidates(spec, shape),
        key=lambda patch: (cycles(spec, shape, patch), patch.tile.threads, patch.shared_bytes),
        default=None,
    )


def _candidates(spec: Conv2dBackwardInputPooled, shape: Product) -> Iterator[Patch]:
    tiles = dict.fromkeys(replace(tile, stages=2) for tile in tile_gemm.candidates(shape))
    for tile in tiles:
        for tile_w in (8, 16, 32):
            if tile.rows % tile_w or (tile_w > 8 and tile_w >= 2 * spec.dx.w):
                continue
            # More copies in flight than rows of taps would bring the next block's dy before this one's is used.
            for stages in range(2, min(4, spec.conv.weights.kh + 2)):
                patch = Patch.of(spec, replace(tile, stages=stages), tile_w)
                if patch.shared_bytes <= tile_gemm.BLOCK_SHARED_BYTES:
                    yield patch


def cycles(spec: Conv2dBackwardInputPooled, shape: Product, patch: Patch) -> float:
    """Estimated cycles, as tile_gemm.cycles."""
    weights, tile = spec.conv.weights, patch.tile
    made = 4 * patch.h * patch.w  # chunks of a patch, for kh steps
    instructions = cost.expanding_instructions(patch.pieces, made) / weights.kh
    work = cost.Work(
        multiply=weights.kw * tile_gemm.multiply_cycles(tile),
        shared_bytes=weights.kw * (tile.columns * 64 + tile_gemm.fragment_bytes(tile))
        + (2 * patch.pieces * _PIECE_BYTES + 2 * made * 16) / weights.kh,  # made by two lanes at a bank
        instructions=weights.kw * tile_gemm.product_instructions(tile) + instructions,
        global_bytes=weights.kw * tile.columns * 64 + patch.pieces * _PIECE_BYTES / weights.kh,
    )
    rectangles = spec.dx.n * -(-spec.dx.h // patch.tile_h) * -(-spec.dx.w // patch.tile_w)
    blocks = rectangles * -(-shape.columns // tile.columns)
    steps = weights.n_oc_blocks * weights.kh
    return cost.grid_cycles(work.cycles, steps, blocks, tile.threads, patch.resident, tile.stages - 1)
