"""The depthwise convolution and its gradients; lanes are channels.

Rows and columns fall into runs whose pixels read the same taps. What leaves the image is not read, so no border costs a
mask, a branch or a halo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.conv.sample_parts import SampleParts
from asmgen.plan.layout import Image
from asmgen.plan.specs import DepthwiseBackwardInput, DepthwiseBackwardWeights, DepthwiseForward
from asmgen.plan.specs.depthwise import Depthwise
from asmgen.tile.common.remainder import parts

_SOURCE = "asmgen/kernels/depthwise/depthwise.py"
_FEWEST_SUMS, _MOST_SUMS = 3, 8  # pixels at a time
_Taps = tuple[tuple[int, int], ...]  # (tap, where it reads, from the group's first source on)


@dataclass(frozen=True)
class _Run:
    """`count` groups of rows or columns, each of `taps` by row of the group."""

    count: int
    taps: tuple[_Taps, ...]


@dataclass(frozen=True)
class _Axis:
    """Rows or columns of what is walked: runs of groups of `size`; a group moves the source by `step`."""

    runs: tuple[_Run, ...]
    size: int
    step: int

    @classmethod
    def of(cls, found: list[_Taps], size: int, step: int) -> _Axis:
        groups = []
        for q, first in enumerate(range(0, len(found), size)):
            groups.append(tuple(tuple((i, s - q * step) for i, s in taps) for taps in found[first : first + size]))
        return cls(tuple(_Run(len(list(same)), taps) for taps, same in groupby(groups)), size, step)

    @classmethod
    def forward(cls, out: int, inputs: int, taps: int, stride: int, pad: int) -> _Axis:
        reads = [[(i, o * stride + i - pad) for i in range(taps)] for o in range(out)]
        return cls.of([tuple((i, s) for i, s in row if 0 <= s < inputs) for row in reads], 1, stride)

    @classmethod
    def backward(cls, out: int, inputs: int, taps: int, stride: int, pad: int) -> _Axis:
        reads = [[(i, h + pad - i) for i in range(taps)] for h in range(inputs)]
        found = [tuple((i, s // stride) for i, s in row if s % stride == 0 and 0 <= s // stride < out) for row in reads]
        return cls.of(found, stride, 1)


def _axes(conv: Depthwise, make: Callable[..., _Axis]) -> tuple[_Axis, _Axis]:
    w = conv.weights
    rows = make(conv.oh, conv.x.h, w.kh, conv.sh, conv.pt)
    return rows, make(conv.ow, conv.x.w, w.kw, conv.sw, conv.pl)


#: One pixel: bytes from the walk's pointer, and (tap, bytes from the source's pointer) of all that it reads.
_Pixel = tuple[int, tuple[tuple[int, int], ...]]


def _walk(
    asm: Assembler,
    axes: tuple[_Axis, _Axis],
    kw: int,
    source: tuple[Any, Image],
    target: tuple[Any, Image],
    unroll: int,
    body: Callable[[list[_Pixel]], None],
) -> None:
    """body(pixels) for all pixels of a plane; the pointers end at the plane's first row behind the last."""
    (src, x), (dst, y), (rows, columns) = source, target, axes
    for row_run in rows.runs:
        with asm.loop("h", row_run.count):
            dst_moved = src_moved = 0
            for run in columns.runs:
                wide = len(run.taps)
                for count, n in parts(run.count, max(1, unroll // wide)):
                    with asm.loop("w", count):
                        pixels: list[_Pixel] = []
                        for r, row_taps in enumerate(row_run.taps):
                            for at in range(n):
                                for column, taps in enumerate(run.taps):
                                    where = r * y.row_bytes + (at * wide + column) * y.pixel_bytes
                                    reads = tuple(
                                        (i * kw + j, s * x.row_bytes + (t + at * columns.step) * x.pixel_bytes)
                                        for i, s in row_taps
                                        for j, t in taps
                                    )
                                    pixels.append((where, reads))
                        for first in range(0, len(pixels), unroll):
                            body(pixels[first : first + unroll])
                        asm.move(dst, n * wide * y.pixel_bytes, f"{asm.name_of(dst)}: next columns")
                        asm.move(src, n * columns.step * x.pixel_bytes, f"{asm.name_of(src)}: next columns")
                    dst_moved += count * n * wide
                    src_moved += count * n * columns.step
            high = len(row_run.taps)
            asm.move(dst, high * y.row_bytes - dst_moved * y.pixel_bytes, f"{asm.name_of(dst)}: next row")
            asm.move(src, rows.step * x.row_bytes - src_moved * x.pixel_bytes, f"{asm.name_of(src)}: next row")


def _walked(axis: _Axis) -> tuple[int, int]:
    """Rows of the target and of the source that a walk goes through."""
    return sum(r.count * len(r.taps) for r in axis.runs), sum(r.count for r in axis.runs) * axis.step


@dataclass(frozen=True)
class _Registers:
    """What a body keeps in vectors: `unroll` sums of pixels, one value of the source, and `taps` weights or one."""

    unroll: int
    taps: int

    @classmethod
    def of(cls, isa: Isa, taps: int) -> _Registers:
        """All weights where at least _FEWEST_SUMS fit beside them."""
        free = isa.n_vregs - 1 - (not isa.has_fma)
        held = taps if taps + _FEWEST_SUMS <= free else 1
        return cls(min(_MOST_SUMS, free - held), held)


def _sums(asm: Assembler, spec: Any, axes: tuple[_Axis, _Axis], source: Image, target: Image, names: Any) -> str:
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

    def body(pixels: list[_Pixel]) -> None:
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
    rows_dst, rows_src = _walked(axes[0])
    with asm.loop("n", "samples in the slice", left):
        with asm.loop("c", n_blocks):
            for tap, register in enumerate(weights if all_held else ()):
                v.load(register, [w + tap * w_layout.tap_bytes])
            _walk(asm, axes, w_layout.kw, (src, source), (dst, target), registers.unroll, body)
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
        tile = _sums(asm, spec, _axes(spec.conv, _Axis.forward), spec.conv.x, spec.y, ("x", "w", "y"))
    formula = "y[n,c,h,w] = bias[c] + sum over i,j of x[n,c,h*sh+i-pt,w*sw+j-pl] * w[c,i,j]"
    images = (("rdi", "x", spec.conv.x, "in"), ("rdx", "y", spec.y, "out"))
    return asm.finish(_facts(spec, formula, images, ("rsi", "w", "in"), f"samples, 0..{spec.y.n}", tile))


def emit_input(spec: DepthwiseBackwardInput, isa: Isa) -> Listing:
    """The listing of one shape: rdi dz, rsi w, rdx dx (overwritten but for its halo); samples."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    with asm:
        tile = _sums(asm, spec, _axes(spec.conv, _Axis.backward), spec.dz, spec.dx, ("dz", "w", "dx"))
    formula = "dx[n,c,h,w] = sum over i,j of dz[n,c,(h+pt-i)/sh,(w+pl-j)/sw] * w[c,i,j]"
    images = (("rdi", "dz", spec.dz, "in"), ("rdx", "dx", spec.dx, "out"))
    return asm.finish(_facts(spec, formula, images, ("rsi", "w", "in"), f"samples, 0..{spec.dx.n}", tile))


def emit_weights(spec: DepthwiseBackwardWeights, isa: Isa) -> Listing:
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
        held = [asm.vec.alloc(f"dw[{i}]") for i in range(min(taps, free - _FEWEST_SUMS))]
        loaded = [asm.vec.alloc(f"dz[{i}]") for i in range(min(_MOST_SUMS, free - len(held)))]
        axes = _axes(conv, _Axis.forward)
        rows_dz, rows_x = _walked(axes[0])
        with asm.loop("c", "blocks of channels", left):
            for chunk in _chunks(taps, len(held)):
                sums = dict(zip(chunk, held, strict=False))
                adds_bias = total is not None and chunk.start == 0
                for register in (*sums.values(), *((total,) if adds_bias else ())):
                    v.zero(register)
                x86.MOV(source, x_at)
                x86.MOV(gradient, dz_at)

                def body(pixels: list[_Pixel], sums: Any = sums, adds_bias: bool = adds_bias) -> None:
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
                    _walk(asm, axes, w.kw, (source, x), (gradient, dz), len(loaded), body)
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
    facts = _facts(part, formula, images, ("rdx", "dw", "out"), f"blocks of channels, 0..{dz.n_c_blocks}", tile)
    return asm.finish(parts.facts(facts))


def _chunks(total: int, size: int) -> Iterator[range]:
    for first in range(0, total, size):
        yield range(first, min(total, first + size))


def _facts(spec: Any, formula: str, images: Any, weights: tuple[str, str, str], unit: str, tile: str) -> Facts:
    conv = spec.conv
    ctype, layout = "f32" if conv.x.dtype == "float32" else "f64", conv.weights
    arguments = [Argument(at, name, ctype, str(image), role) for at, name, image, role in images]
    arguments.append(Argument(weights[0], weights[1], ctype, str(layout), weights[2]))
    sizes = [(i.n * i.n_c_blocks * i.h * i.w * i.pixel_bytes, role) for _, _, i, role in images]
    sizes.append((layout.size_bytes, weights[2]))
    return Facts(
        title=f"{spec.text}  {conv.x.c}x{conv.x.h}x{conv.x.w}, {layout.kh}x{layout.kw} -> {conv.oh}x{conv.ow}",
        source=_SOURCE,
        formula=(formula,),
        arguments=tuple(sorted(arguments, key=lambda each: ("rdi", "rsi", "rdx").index(each.register))),
        slice_unit=unit,
        flops=spec.flops(),
        bytes_read=sum(size for size, role in sizes if role == "in"),
        bytes_written=sum(size for size, role in sizes if role == "out"),
        tile=tile,
    )
