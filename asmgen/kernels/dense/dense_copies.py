"""Copies on the frame that the tiles of the dense weight gradient read instead of x and dy (dense_roles.py)."""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.dense.dense_roles import Role
from asmgen.plan.layout import DENSE_QUAD
from asmgen.tile.common.count_text import advance


def pack_lanes(asm: Assembler, lanes: Role, at: Any, packed: Any, tiles: list[tuple[int, int]]) -> None:
    """packed[tile][n][vectors] = a block of lanes, given as (tiles, their vectors): a tile reads one stream of loads.

    In the rows themselves, those of a tile lie far apart, and may fall on a few sets of L1.
    """
    n, row_bytes, vector_bytes = lanes.rows.n, lanes.rows.sample_bytes, asm.isa.vector_bytes
    asm.comment(f"the block of {lanes.name}, tile by tile, the samples of a tile side by side")
    source, target = asm.gp.alloc(f"{lanes.name} at n"), asm.gp.alloc(f"packed {lanes.name}")
    x86.MOV(source, at)
    x86.LEA(target, [packed])
    for count, vectors in tiles:
        registers = [asm.vec.alloc(f"{lanes.name}[{k}]") for k in range(vectors)]
        with asm.loop(lanes.index, count):
            with asm.loop("pack", n):
                for k, register in enumerate(registers):
                    asm.v.load(register, [source + k * vector_bytes])
                for k, register in enumerate(registers):
                    asm.v.store([target + k * vector_bytes], register)
                asm.move(source, row_bytes, f"{lanes.name}: next sample")
                asm.move(target, vectors * vector_bytes, f"copy: {advance(vectors, 'vector')}")
            asm.move(
                source,
                -(n * row_bytes - vectors * vector_bytes),
                f"{lanes.name}: first sample, {advance(vectors, 'vector')}",
            )
        asm.vec.free(*registers)
    asm.gp.free(source, target)


def spread_factors(asm: Assembler, factors: Role, at: Any, spread: Any) -> None:
    """spread[n][4][V] = the quad's factors, each in every lane: tiles load what else they would shuffle every time."""
    name = factors.name
    asm.comment(f"{name} of the quad, each in every lane, for all tiles")
    source, target = asm.gp.alloc(f"{name} at n"), asm.gp.alloc(f"spread {name}")
    x86.MOV(source, at)
    x86.LEA(target, [spread])
    registers = [asm.vec.alloc(f"{name}[n][{each}]") for each in range(DENSE_QUAD)]
    with asm.loop("spread", factors.rows.n):
        for each, register in enumerate(registers):
            asm.v.broadcast_lane(register, source, each)
        for each, register in enumerate(registers):
            asm.v.store([target + each * asm.isa.vector_bytes], register)
        asm.move(source, factors.rows.sample_bytes, f"{factors.name}: next sample")
        asm.move(target, DENSE_QUAD * asm.isa.vector_bytes, f"copy: next {DENSE_QUAD} vectors")
    asm.vec.free(*registers)
    asm.gp.free(source, target)
