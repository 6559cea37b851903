"""One input of a concatenation along channels, and its gradient: y[:, c0 : c0 + c] = x; dx = dy[:, c0 : c0 + c].

A thread moves as many neighbouring channels of a pixel at a time, up to 16 bytes, as c0 and their number allow.
"""

from __future__ import annotations

import math

from asmgen.cuda.common.spread import spread, vec_lanes
from asmgen.cuda.common.strides import Strides, as_image
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing
from asmgen.plan.layout import Activations
from asmgen.plan.specs import ConcatBackward, ConcatForward, dtype_tag


def emit_forward(spec: ConcatForward) -> CudaListing:
    """The listing of one input: x, y (only its channels, and padding)."""
    return _emit(spec, {"x": spec.x, "y": spec.y})


def emit_backward(spec: ConcatBackward) -> CudaListing:
    """The listing of one input's gradient: dy, dx (overwritten, halo untouched)."""
    return _emit(spec, {"dy": spec.dy, "dx": spec.dx})


def _emit(spec: ConcatForward | ConcatBackward, tensors: dict[str, Activations]) -> CudaListing:
    symbol, range_, is_forward = spec.symbol("cuda"), spec.range, isinstance(spec, ConcatForward)
    part = as_image(range_.part)
    channels = range_.carried + (range_.whole_zeros if is_forward else range_.part_zeros)
    width = math.gcd(range_.c0, range_.carried, vec_lanes(part.dtype))
    blocks, packs = -(-channels // part.block), part.block // width
    grid = spread(part.n * blocks * part.h * part.w * packs)
    source, target = tensors
    return listing(
        "elementwise/concat",
        symbol,
        part.dtype,
        (grid.launch(symbol, ("a0", "a1")),),
        _facts(spec, tensors, width, grid.loops),
        grid=grid,
        images={name: Strides.of(as_image(layout)) for name, layout in tensors.items()},
        source=source,
        target=target,
        part=part,
        part_is_source=is_forward,
        c0=range_.c0,
        carried=range_.carried,
        channels=channels,
        width=width,
        blocks=blocks,
        packs=packs,
    )


def _facts(
    spec: ConcatForward | ConcatBackward, tensors: dict[str, Activations], width: int, loops: tuple[str, ...]
) -> Facts:
    range_, ctype = spec.range, dtype_tag(spec.range.part.dtype)
    (source_name, source), (target_name, target) = tensors.items()
    written = "halo not written, padding zero"
    if isinstance(spec, ConcatForward):
        written = f"only its channels{', and padding: zero' if range_.is_last else ''}"
    return Facts(
        title=f"{spec.text}  channels {range_.text()}  {source} -> {target}",
        source="asmgen/cuda/elementwise/concat.py",
        formula=(spec.formula(),),
        arguments=(
            Argument("a0", source_name, f"{ctype} {source}", "in", "padding zero"),
            Argument("a1", target_name, f"{ctype} {target}", "out", written),
        ),
        flops=spec.flops(),
        bytes_read=range_.part.size_bytes,
        bytes_written=range_.part.size_bytes,
        tile=f"a thread moves {width} channel{'s' * (width > 1)} of a pixel at a time",
        loops=loops,
    )
