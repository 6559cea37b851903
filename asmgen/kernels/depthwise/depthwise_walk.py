"""How depthwise kernels walk an image: runs of rows and columns whose pixels read the same taps.

What leaves the image is not read, so no border costs a mask, a branch or a halo. Example: with 3 taps, a stride of 1
and a padding of 1, 7 rows are 3 runs: the first (taps 1 and 2), 5 with all taps, and the last (taps 0 and 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.asm.listing import Argument, Facts
from asmgen.plan.layout import Image
from asmgen.plan.specs.depthwise import Depthwise
from asmgen.tile.common.remainder import parts

FEWEST_PIXELS, MOST_PIXELS = 3, 8  # at a time: values of the source serve all of them
Taps = tuple[tuple[int, int], ...]  # (tap, where it reads, from the group's first source on)


@dataclass(frozen=True)
class Run:
    """`count` groups of rows or columns, each of `taps` by row of the group."""

    count: int
    taps: tuple[Taps, ...]


@dataclass(frozen=True)
class Axis:
    """Rows or columns of what is walked: runs of groups of `size`; a group moves the source by `step`."""

    runs: tuple[Run, ...]
    size: int
    step: int

    @classmethod
    def of(cls, found: list[Taps], size: int, step: int) -> Axis:
        """From what every row or column reads: neighbouring groups that read the same become a run."""
        groups = []
        for q, first in enumerate(range(0, len(found), size)):
            groups.append(tuple(tuple((i, s - q * step) for i, s in taps) for taps in found[first : first + size]))
        return cls(tuple(Run(len(list(same)), taps) for taps, same in groupby(groups)), size, step)

    @classmethod
    def forward(cls, out: int, inputs: int, taps: int, stride: int, pad: int) -> Axis:
        """Output o reads input o * stride + i - pad by tap i."""
        reads = [[(i, o * stride + i - pad) for i in range(taps)] for o in range(out)]
        return cls.of([tuple((i, s) for i, s in row if 0 <= s < inputs) for row in reads], 1, stride)

    @classmethod
    def backward(cls, out: int, inputs: int, taps: int, stride: int, pad: int) -> Axis:
        """Input h reads output (h + pad - i) / stride by tap i, where that is whole."""
        reads = [[(i, h + pad - i) for i in range(taps)] for h in range(inputs)]
        found = [tuple((i, s // stride) for i, s in row if s % stride == 0 and 0 <= s // stride < out) for row in reads]
        return cls.of(found, stride, 1)


def axes_of(conv: Depthwise, make: Callable[..., Axis]) -> tuple[Axis, Axis]:
    """Rows and columns of a convolution; make: Axis.forward or Axis.backward."""
    w = conv.weights
    rows = make(conv.oh, conv.x.h, w.kh, conv.sh, conv.pt)
    return rows, make(conv.ow, conv.x.w, w.kw, conv.sw, conv.pl)


#: One pixel: bytes from the walk's pointer, and (tap, bytes from the source's pointer) of all that it reads.
Pixel = tuple[int, tuple[tuple[int, int], ...]]


def walk(
    asm: Assembler,
    axes: tuple[Axis, Axis],
    kw: int,
    source: tuple[Any, Image],
    target: tuple[Any, Image],
    unroll: int,
    body: Callable[[list[Pixel]], None],
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
                        pixels: list[Pixel] = []
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


def walked(axis: Axis) -> tuple[int, int]:
    """Rows of the target and of the source that a walk goes through."""
    return sum(r.count * len(r.taps) for r in axis.runs), sum(r.count for r in axis.runs) * axis.step


def facts_of(
    spec: Any, source: str, formula: str, images: Any, weights: tuple[str, str, str], unit: str, tile: str
) -> Facts:
    """The header of a kernel; images: (register, name, layout, role) each, weights: (register, name, role)."""
    conv = spec.conv
    ctype, layout = "f32" if conv.x.dtype == "float32" else "f64", conv.weights
    arguments = [Argument(at, name, ctype, str(image), role) for at, name, image, role in images]
    arguments.append(Argument(weights[0], weights[1], ctype, str(layout), weights[2]))
    sizes = [(i.n * i.n_c_blocks * i.h * i.w * i.pixel_bytes, role) for _, _, i, role in images]
    sizes.append((layout.size_bytes, weights[2]))
    return Facts(
        title=f"{spec.text}  {conv.x.c}x{conv.x.h}x{conv.x.w}, {layout.kh}x{layout.kw} -> {conv.oh}x{conv.ow}",
        source=source,
        formula=(formula,),
        arguments=tuple(sorted(arguments, key=lambda each: ("rdi", "rsi", "rdx").index(each.register))),
        slice_unit=unit,
        flops=spec.flops(),
        bytes_read=sum(size for size, role in sizes if role == "in"),
        bytes_written=sum(size for size, role in sizes if role == "out"),
        tile=tile,
    )
