"""The mean over all pixels of a channel, and its gradient; lanes are channels.

Forward, the order of summation: the pixels of a block of channels are walked run by run (rows, or the whole plane where
no halo lies between rows), pixel i of a run is added to accumulator i mod N, and at the end the upper half of the
accumulators is added to the lower one until one is left. Several accumulators hide the latency of the additions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs import GlobalAvgPoolBackward, GlobalAvgPoolForward, dtype_tag
from asmgen.tile.common.count_text import advance, counted

_MAX_ACCUMULATORS = 8  # the latency of an addition (4 cycles) times two ports
_UNROLL = 8  # stores per trip


def emit_forward(spec: GlobalAvgPoolForward, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi y (overwritten); slice of samples."""
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    n_accumulators = _n_accumulators(spec.x)
    with asm:
        x, y = asm.argument(0, "x"), asm.argument(1, "y")
        sums = [asm.vec.alloc(f"sum[{i}]") for i in range(n_accumulators)]

        def pixel(i: int) -> None:
            asm.v.add(sums[i], sums[i], [x + i * spec.x.pixel_bytes])

        def block() -> None:
            for register in sums:
                asm.v.zero(register)
            _plane(asm, spec.x, x, n_accumulators, pixel)
            n = n_accumulators
            while n > 1:
                n //= 2
                for i in range(n):
                    asm.v.add(sums[i], sums[i], sums[i + n])
            asm.v.mul(sums[0], sums[0], _share(asm, spec.x))
            asm.v.store([y], sums[0])

        def padding() -> None:
            for i in range(spec.y.n_vectors - spec.x.n_c_blocks):
                asm.v.zero(sums[0])
                asm.v.store([y + i * isa.vector_bytes], sums[0])
                asm.note("padding of the row")

        _samples(asm, (spec.x, x), (spec.y, y), block, padding)
    return asm.finish(_forward_facts(spec))


def emit_backward(spec: GlobalAvgPoolBackward, isa: Isa) -> Listing:
    """The listing of one shape: rdi dy, rsi dx (overwritten but for its halo); slice of samples."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    with asm:
        dy, dx = asm.argument(0, "dy"), asm.argument(1, "dx")
        gradient = asm.vec.alloc("gradient of a pixel")

        def pixel(i: int) -> None:
            asm.v.store([dx + i * spec.dx.pixel_bytes], gradient)

        def block() -> None:
            asm.v.load(gradient, [dy])
            asm.v.mul(gradient, gradient, _share(asm, spec.dx))
            _plane(asm, spec.dx, dx, _UNROLL, pixel)

        _samples(asm, (spec.dx, dx), (spec.dy, dy), block)
    return asm.finish(_backward_facts(spec))


def _n_accumulators(image: Image) -> int:
    """A power of two, no more than a run has pixels."""
    _, pixels = _runs(image)
    return min(_MAX_ACCUMULATORS, 1 << pixels.bit_length() - 1)


def _runs(image: Image) -> tuple[int, int]:
    """Runs of contiguous pixels of a plane, and pixels of a run."""
    return (1, image.h * image.w) if image.cols == image.w else (image.h, image.w)


def _samples(
    asm: Assembler,
    image: tuple[Image, Any],
    rows: tuple[Rows, Any],
    block: Callable[[], None],
    padding: Callable[[], None] = lambda: None,
) -> None:
    """block() for every block of channels of samples [begin, end), then padding(), the pointers at its first pixel and
    its vector of the row; it leaves the image's pointer behind the plane's last run."""
    (layout, pixel), (row_layout, row) = image, rows
    begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
    asm.release_arguments()
    offset = asm.gp.alloc("offset")
    asm.comment("the slice's first sample")
    x86.SUB(left, begin)
    x86.IMUL(offset, begin, layout.sample_bytes)
    x86.LEA(pixel, [pixel + offset * 1 + layout.offset_bytes()])
    x86.IMUL(offset, begin, row_layout.sample_bytes)
    x86.ADD(row, offset)
    asm.gp.free(begin, offset)
    image_name, row_name = asm.name_of(pixel), asm.name_of(row)
    n_runs, n_pixels = _runs(layout)
    walked = n_runs * layout.row_bytes if n_runs > 1 else n_pixels * layout.pixel_bytes
    with asm.loop("n", "samples in the slice", left):
        with asm.loop("c", layout.n_c_blocks):
            block()
            asm.move(pixel, layout.plane_bytes - walked, f"{image_name}: next block of channels")
            asm.move(row, layout.pixel_bytes, f"{row_name}: next block of channels")
        padding()
        asm.move(pixel, layout.sample_bytes - layout.n_c_blocks * layout.plane_bytes, f"{image_name}: next sample")
        asm.move(row, row_layout.sample_bytes - layout.n_c_blocks * layout.pixel_bytes, f"{row_name}: next sample")


def _plane(asm: Assembler, image: Image, pointer: Any, unroll: int, pixel: Callable[[int], None]) -> None:
    """pixel(i) for all pixels of a plane, i counted from the pointer; leaves it behind the last run."""
    name, (n_runs, n_pixels) = asm.name_of(pointer), _runs(image)
    trips, rest = divmod(n_pixels, unroll)
    with asm.loop("h", n_runs):
        if trips:
            with asm.loop("w", trips):
                for i in range(unroll):
                    pixel(i)
                asm.move(pointer, unroll * image.pixel_bytes, f"{name}: {advance(unroll, 'pixel')}")
        for i in range(rest):
            pixel(i)
        run_bytes = image.row_bytes if n_runs > 1 else n_pixels * image.pixel_bytes
        asm.move(pointer, run_bytes - trips * unroll * image.pixel_bytes, f"{name}: next row")


def _share(asm: Assembler, image: Image) -> Any:
    size = image.h * image.w
    return asm.vector_constant("share", 1 / size, f"1 / {size}")


def _interior_bytes(image: Image) -> int:
    return image.n * image.n_c_blocks * image.h * image.w * image.pixel_bytes


def _forward_facts(spec: GlobalAvgPoolForward) -> Facts:
    x, y, ctype = spec.x, spec.y, dtype_tag(spec.x.dtype)
    n_runs, n_pixels = _runs(x)
    return Facts(
        title=f"{spec.text}  {x.c}x{x.h}x{x.w} -> {x.c}",
        source="asmgen/kernels/pool/global_avg_pool.py",
        formula=(f"y[n,c] = 1/{x.h * x.w} sum over h<{x.h}, w<{x.w} of x[n,c,h,w]",),
        arguments=(
            Argument("rdi", "x", ctype, str(x), "in", "padding zero"),
            Argument("rsi", "y", ctype, str(y), "out", "padding zero"),
        ),
        slice_unit=f"samples, 0..{x.n}",
        flops=spec.flops(),
        bytes_read=_interior_bytes(x),
        bytes_written=y.size_bytes,
        tile=counted(_n_accumulators(x), "accumulator"),
        notes=(
            f"{counted(n_runs, 'run')} of {n_pixels} pixels a plane; pixel i of a run goes to accumulator i mod "
            f"{_n_accumulators(x)}, whose upper half is added to the lower one until one is left",
        ),
    )


def _backward_facts(spec: GlobalAvgPoolBackward) -> Facts:
    dy, dx, ctype = spec.dy, spec.dx, dtype_tag(spec.dx.dtype)
    return Facts(
        title=f"{spec.text}  {dx.c} -> {dx.c}x{dx.h}x{dx.w}",
        source="asmgen/kernels/pool/global_avg_pool.py",
        formula=(f"dx[n,c,h,w] = dy[n,c] / {dx.h * dx.w}",),
        arguments=(
            Argument("rdi", "dy", ctype, str(dy), "in", "padding zero"),
            Argument("rsi", "dx", ctype, str(dx), "out", "halo not written" if dx.halo else ""),
        ),
        slice_unit=f"samples, 0..{dx.n}",
        flops=spec.flops(),
        bytes_read=dy.size_bytes,
        bytes_written=_interior_bytes(dx),
        tile=f"{counted(_UNROLL, 'pixel')} a trip",
    )
