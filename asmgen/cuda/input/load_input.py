"""Input: dst[n] = images[indices[n]] * scale[c] + shift[c], u8 pixels of the device's copy of the data set to floats.

A thread converts the pixels of one 16-byte store where they are contiguous and aligned on both sides, else one pixel;
into blocks of channels, 16 bytes of channels of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.spread import Pixels, spread, vec_lanes
from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import Image
from asmgen.plan.specs import LoadInput, dtype_tag


@dataclass(frozen=True)
class Walk:
    """`lanes` pixels an item; `sample_items` items a sample, of which the last `padding_items` are padding of a row."""

    lanes: int
    sample_items: int
    padding_items: int


def choose_walk(spec: LoadInput) -> Walk:
    """Whole stores where pixels lie in dst as in the image and no store holds two channels or a pixel and padding."""
    dst, lanes, size = spec.dst, vec_lanes(spec.dst.dtype), spec.c * spec.h * spec.w
    if isinstance(dst, Image):
        is_dense, row = not dst.halo, size
    else:
        is_dense, row = True, dst.stride
    run = size if is_uniform(spec) else spec.h * spec.w
    if not is_dense or run % lanes or size % lanes:
        lanes = 1
    return Walk(lanes, row // lanes, (row - size) // lanes)


def is_uniform(spec: LoadInput) -> bool:
    """Whether all channels share scale and shift."""
    return len(set(zip(spec.scale, spec.shift, strict=True))) == 1


def emit(spec: LoadInput) -> CudaListing:
    """The listing of one shape: images, indices, dst (overwritten but for its halo)."""
    if isinstance(spec.dst, Image) and spec.dst.block != 1:
        return _emit_blocks(spec, spec.dst)
    dst, symbol, walk = spec.dst, spec.symbol("cuda"), choose_walk(spec)
    check_size(dst.size_bytes // dst.element_bytes)
    grid = spread(dst.n * walk.sample_items)
    return listing(
        "input/load_input",
        symbol,
        dst.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, f"a thread converts {walk.lanes} pixel{'s' * (walk.lanes > 1)} at a time", grid.loops),
        spec=spec,
        walk=walk,
        grid=grid,
        strides=Strides.of(dst) if isinstance(dst, Image) and dst.halo else None,
        sample_stride=dst.sample_bytes // dst.element_bytes,
        is_uniform=is_uniform(spec),
        scale=[literal(value, dst.dtype) for value in spec.scale],
        shift=[literal(value, dst.dtype) for value in spec.shift],
    )


def _emit_blocks(spec: LoadInput, dst: Image) -> CudaListing:
    symbol, walk = spec.symbol("cuda"), Pixels.of(dst)
    grid = spread(walk.items)
    return listing(
        "input/load_input_blocks",
        symbol,
        dst.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, "a thread converts 16 bytes of a pixel at a time", grid.loops),
        spec=spec,
        dst=dst,
        walk=walk,
        grid=grid,
        strides=Strides.of(dst),
        is_uniform=is_uniform(spec),
        scale=[literal(value, dst.dtype) for value in spec.scale],
        shift=[literal(value, dst.dtype) for value in spec.shift],
    )


def _facts(spec: LoadInput, tile: str, loops: tuple[str, ...]) -> Facts:
    dst, n_pixels = spec.dst, spec.c * spec.h * spec.w
    return Facts(
        title=f"{spec.text}  u8 {spec.c}x{spec.h}x{spec.w} -> {dst}",
        source="asmgen/cuda/input/load_input.py",
        formula=("dst[n,c,h,w] = images[indices[n],c,h,w] * scale[c] + shift[c]",),
        arguments=(
            Argument("a0", "images", f"u8 [count][{spec.c}][{spec.h}][{spec.w}]", "in", "16-byte aligned"),
            Argument("a1", "indices", f"u32 [{dst.n}]", "in", "below count; 4-byte aligned"),
            Argument("a2", "dst", f"{dtype_tag(dst.dtype)} {dst}", "out", "halo not written, padding zero"),
        ),
        flops=spec.flops(),
        bytes_read=dst.n * (n_pixels + 4),
        bytes_written=dst.n * n_pixels * dst.element_bytes,
        tile=tile,
        loops=loops,
    )
