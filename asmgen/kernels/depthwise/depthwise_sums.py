"""The depthwise convolution and its input gradient, sums over the taps; lanes are channels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
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
from asmgen.plan.layout import Image
from asmgen.plan.specs import DepthwiseBackwardInput, DepthwiseForward

_SOURCE = "asmgen/kernels/depthwise/depthwise_sums.py"


@dataclass(frozen=True)
class _Registers:
    """What a body keeps in vectors: `unroll` sums of pixels, one value of the source, and `taps` weights or one."""

    unroll: int
    taps: int

    @classmethod
    def of(cls, isa: Isa, taps: int) -> _Registers:
        """All weights where at least FEWEST_PIXELS fit beside them."""
        free = isa.n_vregs - 1 - (not isa.has_fma)
        held = taps if taps + FEWEST_PIXELS <= free else 1
        return cls(min(MOST_PIXELS, free - held), held)


def _sums(asm: Assembler, spec: Any, axes: tuple[Axis, Axis], source: Image, target: Image, names: Any) -> str:
    """The kernel of outputs that are sums over taps: forward, and dx; returns its tile."""
    conv, w_layout, v = spec.conv, spec.conv.weights, asm.v
    src, w, dst = (asm.argument(i, name) for i, name in enumerate(names))
    begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
    asm.release_arguments()
    x86.SUB(left, begin)
    offset = asm.gp.alloc("offset")
    for pointer, image in ((src, source), (dst, target)):
        x86.IMUL(offset, begin, image.sample_bytes)
        x86.LEA(pointer, [pointer + offset * 1 + image.offset_bytes()])
    asm.gp.free(offset, begin)
    has_bias = isinstance(spec, DepthwiseForward) and conv.bias
    bias = asm.gp.alloc("bias") if has_bias else None
    if has_bias:
        x86.LEA(bias, [w + w_layout.bias_offset_bytes])
    taps = w_layout.kh * w_layout.kw
    registers = _Registers.of(asm.isa, taps)
    sums = [asm.vec.alloc(f"sum[{i}]") for i in range(registers.unroll)]
    loaded = asm.vec.alloc("source")
    weights = [asm.vec.alloc(f"w[{i}]") for i in range(registers.taps)]
    all_held = registers.taps == taps

    def body(pixels: list[Pixel]) -> None:
        for register, _ in zip(sums, pixels, strict=False):
            v.load(register, [bias]) if has_bias else v.zero(register)
        terms = [(at, tap, s) for s, (_, reads) in zip(sums, pixels, strict=False) for tap, at in reads]
        if all_held:  # every value of the source is loaded once
            for at, group in groupby(sorted(terms, key=lambda term: term[0]), key=lambda term: term[0]):
                v.load(loaded, [src + at])
                for _, tap, register in group:
                    v.fma(register, loaded, weights[tap])
        else:  # every weight is loaded once
            for tap, group in groupby(sorted(terms, key=lambda term: term[1]), key=lambda term: term[1]):
                v.load(weights[0], [w + tap * w_layout.tap_bytes])
                for at, _, register in group:
                    v.load(loaded, [src + at])
                    v.fma(register, loaded, weights[0])
        for register, (where, _) in zip(sums, pixels, strict=False):
            v.store([dst + where], register)

    n_blocks = target.n_c_blocks
    rows_dst, rows_src = walked(axes[0])
    with asm.loop("n", "samples in the slice", left):
        with asm.loop("c", n_blocks):
            for tap, register in enumerate(weights if all_held else ()):
                v.load(register, [w + tap * w_layout.tap_bytes])
            walk(asm, axes, w_layout.kw, (src, source), (dst, target), registers.unroll, body)
            asm.move(dst, target.plane_bytes - rows_dst * target.row_bytes, "next block of channels")
            asm.move(src, source.plane_bytes - rows_src * source.row_bytes, "next block of channels")
            asm.move(w, w_layout.oc_block_bytes, "w: next block of channels")
            if has_bias:
                asm.move(bias, w_layout.tap_bytes, "bias: next block of channels")
        asm.move(w, -n_blocks * w_layout.oc_block_bytes, "w: back to the first block")
        if has_bias:
            asm.move(bias, -n_blocks * w_layout.tap_bytes, "bias: back to the first block")
    where = "all taps in registers" if all_held else "taps loaded one by one"
    return f"{registers.unroll} pixels at a time, {where}"


def emit_forward(spec: DepthwiseForward, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi w (bias behind), rdx y (overwritten but for its halo); samples."""
    asm = Assembler(isa, spec.y.dtype, spec.symbol(isa.name))
    with asm:
        tile = _sums(asm, spec, axes_of(spec.conv, Axis.forward), spec.conv.x, spec.y, ("x", "w", "y"))
    formula = "y[n,c,h,w] = bias[c] + sum over i,j of x[n,c,h*sh+i-pt,w*sw+j-pl] * w[c,i,j]"
    images = (("rdi", "x", spec.conv.x, "in"), ("rdx", "y", spec.y, "out"))
    return asm.finish(facts_of(spec, _SOURCE, formula, images, ("rsi", "w", "in"), f"samples, 0..{spec.y.n}", tile))


def emit_input(spec: DepthwiseBackwardInput, isa: Isa) -> Listing:
    """The listing of one shape: rdi dz, rsi w, rdx dx (overwritten but for its halo); samples."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    with asm:
        tile = _sums(asm, spec, axes_of(spec.conv, Axis.backward), spec.dz, spec.dx, ("dz", "w", "dx"))
    formula = "dx[n,c,h,w] = sum over i,j of dz[n,c,(h+pt-i)/sh,(w+pl-j)/sw] * w[c,i,j]"
    images = (("rdi", "dz", spec.dz, "in"), ("rdx", "dx", spec.dx, "out"))
    return asm.finish(facts_of(spec, _SOURCE, formula, images, ("rsi", "w", "in"), f"samples, 0..{spec.dx.n}", tile))
