"""The products of Winograd's convolution: for every position of a transformed tile, a small matrix product.

    p[position][g][t] = sum over input channels k of v[position][t][k] * u[g][position][k]

t runs over the tiles of a block, g over vectors of output channels. A register tile of t x g sums stays in registers
over all k; an element of v is broadcast once and meets g vectors, a vector of u meets t tiles. Every sum is one chain
in the order of k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.plan.winograd import TransformedOutputs, TransformedTiles, TransformedWeights
from asmgen.tile.common.count_text import advance
from asmgen.tile.winograd.conv2d_winograd import ProductTile


@dataclass(frozen=True)
class Products:
    """The products of one block of tiles with one group of `vectors` output vectors."""

    asm: Assembler
    u: TransformedWeights
    v: TransformedTiles
    p: TransformedOutputs
    channels: int  # input channels per iteration

    def emit(self, tiles: tuple[ProductTile, ...], u_at: Any, v_address: Any, p_address: Any) -> None:
        """u_at: a register at the group's first vector, kept; v_address, p_address: of the scratch."""
        asm, u = self.asm, self.u
        asm.phase("products")
        asm.comment(f"products: {'; '.join(map(str, tiles))}")
        v_at, p_at = asm.gp.alloc("v at tile"), asm.gp.alloc("p at tile")
        x86.LEA(v_at, [v_address])
        x86.LEA(p_at, [p_address])
        with asm.loop("position", u.transform.n_positions):
            for tile in tiles:
                with asm.loop("tiles", tile.count):
                    self._tile(tile, u_at, v_at, p_at)
                    asm.move(v_at, tile.tiles * self.v.tile_bytes, f"v: {advance(tile.tiles, 'tile')}")
                    asm.move(p_at, tile.tiles * self.p.tile_bytes, f"p: {advance(tile.tiles, 'tile')}")
            asm.move(u_at, u.position_bytes, "u: next position")
            asm.move(v_at, self.v.position_bytes - self.v.n_tiles * self.v.tile_bytes, "v: next position, first tile")
            asm.move(p_at, self.p.position_bytes - self.p.n_tiles * self.p.tile_bytes, "p: next position, first tile")
        asm.move(u_at, -u.block_bytes, "u: back to position 0")
        asm.gp.free(v_at, p_at)
        asm.phase()

    def _tile(self, tile: ProductTile, u_at: Any, v_at: Any, p_at: Any) -> None:
        asm = self.asm
        acc = [[asm.vec.alloc(f"p[{g}][{t}]") for g in range(tile.vectors)] for t in range(tile.tiles)]
        held = [asm.vec.alloc(f"u[{g}]") for g in range(tile.vectors)] if tile.weights_in_registers else []
        element = asm.vec.alloc("v")
        for register in (register for row in acc for register in row):
            asm.v.zero(register)
        u_k, v_k = asm.gp.alloc("u at channel"), asm.gp.alloc("v at channel")
        x86.MOV(u_k, u_at)
        x86.MOV(v_k, v_at)
        with asm.loop("k", self.u.inputs // self.channels) as left:
            for k in range(self.channels):
                self._channel(tile, acc, held, element, u_k, v_k, k)
            if left is not None:
                asm.move(u_k, self.channels * self.u.input_bytes, f"u: {advance(self.channels, 'channel')}")
                asm.move(v_k, self.channels * self.u.element_bytes, f"v: {advance(self.channels, 'channel')}")
        asm.gp.free(u_k, v_k)
        for t, row in enumerate(acc):
            for g, register in enumerate(row):
                asm.v.store([p_at + self.p.offset_bytes(g, t)], register)
                asm.note(f"p[{g}][{t}]")
            asm.vec.free(*row)
        asm.v.release_scratch()
        asm.vec.free(element, *held)

    def _channel(
        self, tile: ProductTile, acc: list[list[Any]], held: list[Any], element: Any, u: Any, v: Any, k: int
    ) -> None:
        """acc += channel k of v times channel k of u."""
        asm = self.asm
        vectors: list[Any] = [[u + (g * self.u.block_bytes + k * self.u.input_bytes)] for g in range(tile.vectors)]
        for g, register in enumerate(held):
            asm.v.load(register, vectors[g])
            asm.note(f"u[{g}][{k}]")
        vectors = held or vectors
        whole = self.channels % asm.lanes == 0  # then v + multiples of `lanes` elements are aligned vectors
        for t, row in enumerate(acc):
            address = v + t * self.v.tile_bytes
            if whole:
                asm.v.broadcast_lane(element, address, k)
            else:
                asm.v.broadcast(element, [address + k * self.u.element_bytes])
            asm.note(f"v[{t}][{k}]")
            for register, vector in zip(row, vectors, strict=True):
                asm.v.fma(register, element, vector)
