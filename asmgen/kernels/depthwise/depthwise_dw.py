"""The weight gradient of the depthwise convolution; lanes are channels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.kernels.conv.sample_parts import SampleParts
from asmgen.kernels.depthwise.depthwise_walk import (
    FEWEST_PIXELS,
    MOST_PIXELS,
    Axis,
    Pixel,
    axes_of,
    facts_of,
    walk,
    walked,
)
from asmgen.plan.specs import DepthwiseBackwardWeights

_SOURCE = "asmgen/kernels/depthwise/depthwise_dw.py"


def emit(spec: DepthwiseBackwardWeights, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi dz, rdx dw and db (overwritten); blocks of channels, part by part.

    Sums stay in registers for all samples; where the taps are too many for that, every chunk of them has its own pass.
    """
    asm, part = Assembler(isa, spec.dz.dtype, spec.symbol(isa.name)), spec.of_part()
    conv, dz, v = part.conv, part.dz, asm.v
    x, w = conv.x, conv.weights
    parts = SampleParts(asm, spec, (x.sample_bytes, dz.sample_bytes))
    with asm:
        parts.open()
        x_at, dz_at, dw = (asm.argument(i, name) for i, name in enumerate(("x", "dz", "dw")))
        begin, left = asm.argument(4, "begin"), asm.argument(5, "blocks left")
        asm.release_arguments()
        x86.SUB(left, begin)
        offset = asm.gp.alloc("offset")
        for pointer, image in ((x_at, x), (dz_at, dz)):
            x86.IMUL(offset, begin, image.plane_bytes)
            x86.LEA(pointer, [pointer + offset * 1 + image.offset_bytes()])
        db = asm.gp.alloc("db") if conv.bias else None
        if db is not None:
            x86.IMUL(offset, begin, w.tap_bytes)
            x86.LEA(db, [dw + offset * 1 + w.bias_offset_bytes])
        x86.IMUL(offset, begin, w.oc_block_bytes)
        x86.ADD(dw, offset)
        asm.gp.free(offset, begin)
        source, gradient = asm.gp.alloc("x of the sample"), asm.gp.alloc("dz of the sample")
        value = asm.vec.alloc("x")
        total = asm.vec.alloc("db") if conv.bias else None
        taps = w.kh * w.kw
        free = asm.isa.n_vregs - 1 - conv.bias - (not asm.isa.has_fma)
        held = [asm.vec.alloc(f"dw[{i}]") for i in range(min(taps, free - FEWEST_PIXELS))]
        loaded = [asm.vec.alloc(f"dz[{i}]") for i in range(min(MOST_PIXELS, free - len(held)))]
        axes = axes_of(conv, Axis.forward)
        rows_dz, rows_x = walked(axes[0])
        with asm.loop("c", "blocks of channels", left):
            for chunk in _chunks(taps, len(held)):
                sums = dict(zip(chunk, held, strict=False))
                adds_bias = total is not None and chunk.start == 0
                for register in (*sums.values(), *((total,) if adds_bias else ())):
                    v.zero(register)
                x86.MOV(source, x_at)
                x86.MOV(gradient, dz_at)

                def body(pixels: list[Pixel], sums: Any = sums, adds_bias: bool = adds_bias) -> None:
                    terms = []
                    for register, (where, reads) in zip(loaded, pixels, strict=False):
                        mine = [(at, tap, register) for tap, at in reads if tap in sums]
                        if mine or adds_bias:
                            v.load(register, [gradient + where])
                        if adds_bias:
                            v.add(total, total, register)
                        terms += mine
                    for at, group in groupby(sorted(terms, key=lambda term: term[0]), key=lambda term: term[0]):
                        v.load(value, [source + at])
                        for _, tap, register in group:
                            v.fma(sums[tap], value, register)

                with asm.loop("n", dz.n):
                    walk(asm, axes, w.kw, (source, x), (gradient, dz), len(loaded), body)
                    asm.move(source, x.sample_bytes - rows_x * x.row_bytes, "next sample")
                    asm.move(gradient, dz.sample_bytes - rows_dz * dz.row_bytes, "next sample")
                for tap, register in sums.items():
                    v.store([dw + tap * w.tap_bytes], register)
                if adds_bias:
                    v.store([db], total)
            asm.move(x_at, x.plane_bytes, "x: next block of channels")
            asm.move(dz_at, dz.plane_bytes, "dz: next block of channels")
            asm.move(dw, w.oc_block_bytes, "dw: next block of channels")
            if db is not None:
                asm.move(db, w.tap_bytes, "db: next block of channels")
        parts.close()
    formula = "dw[c,i,j] = sum over n,h,w of dz[n,c,h,w] * x[n,c,h*sh+i-pt,w*sw+j-pl]"
    images = (("rdi", "x", x, "in"), ("rsi", "dz", dz, "in"))
    tile = f"{len(loaded)} pixels at a time, {len(held)} of {taps} taps"
    facts = facts_of(
        part, _SOURCE, formula, images, ("rdx", "dw", "out"), f"blocks of channels, 0..{dz.n_c_blocks}", tile
    )
    return asm.finish(parts.facts(facts))


def _chunks(total: int, size: int) -> Iterator[range]:
    for first in range(0, total, size):
        yield range(first, min(total, first + size))
