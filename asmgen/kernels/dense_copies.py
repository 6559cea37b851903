"""Copies on the frame that the tiles of the dense weight gradient read instead of x and dy."""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.plan.layout import DENSE_ROW_GROUP
from asmgen.plan.specs import DenseUpdate


def pack_inputs(asm: Assembler, spec: DenseUpdate, x: Any, packed: Any, tiles: list[tuple[int, int]]) -> None:
    """packed[tile][n][vectors] = a block of x, given as (tiles, their vectors): a tile reads one stream of loads.

    In x itself, the rows of a tile lie far apart, and may fall on a few sets of L1.
    """
    row_bytes, vector_bytes = spec.x.sample_bytes, asm.isa.vector_bytes
    asm.comment("the block of x, tile by tile, the samples of a tile side by side")
    source, target = asm.gp.alloc("x at n"), asm.gp.alloc("packed x")
    x86.MOV(source, x)
    x86.LEA(target, [packed])
    for count, vectors in tiles:
        registers = [asm.vec.alloc(f"x[{k}]") for k in range(vectors)]
        with asm.loop("k", count):
            with asm.loop("pack", spec.x.n):
                for k, register in enumerate(registers):
                    asm.v.load(register, [source + k * vector_bytes])
                for k, register in enumerate(registers):
                    asm.v.store([target + k * vector_bytes], register)
                x86.ADD(source, row_bytes)
                x86.ADD(target, vectors * vector_bytes)
            x86.SUB(source, spec.x.n * row_bytes - vectors * vector_bytes)
        asm.vec.free(*registers)
    asm.gp.free(source, target)


def spread_gradient(asm: Assembler, spec: DenseUpdate, dy: Any, spread: Any) -> None:
    """spread[n][4][V] = dy[n][o..o+3], each in every lane: tiles load what else they would shuffle again and again."""
    asm.comment("dy of the group, each in every lane, for all tiles")
    source, target = asm.gp.alloc("dy at n"), asm.gp.alloc("spread dy")
    x86.MOV(source, dy)
    x86.LEA(target, [spread])
    registers = [asm.vec.alloc(f"dy[n][{o}]") for o in range(DENSE_ROW_GROUP)]
    with asm.loop("spread", spec.x.n):
        for o, register in enumerate(registers):
            asm.v.broadcast_lane(register, source, o)
        for o, register in enumerate(registers):
            asm.v.store([target + o * asm.isa.vector_bytes], register)
        x86.ADD(source, spec.dy.sample_bytes)
        x86.ADD(target, DENSE_ROW_GROUP * asm.isa.vector_bytes)
    asm.vec.free(*registers)
    asm.gp.free(source, target)
