"""The copy of an image's values in the order of a vector, c, h, w, and its gradient.

A thread moves 16 bytes of a pixel; threads side by side have pixels side by side, which the vector has together.
"""

from __future__ import annotations

from asmgen.cuda.common.spread import VEC_BYTES, spread
from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs import InOrderBackward, InOrderForward, dtype_tag


def emit_forward(spec: InOrderForward) -> CudaListing:
    """The listing of one shape: x, y (overwritten)."""
    return _emit(spec, spec.x, spec.y, {"x": spec.x, "y": spec.y})


def emit_backward(spec: InOrderBackward) -> CudaListing:
    """The listing of one shape: dy, dx (overwritten, halo untouched)."""
    return _emit(spec, spec.dx, spec.dy, {"dy": spec.dy, "dx": spec.dx})


def _emit(
    spec: InOrderForward | InOrderBackward, image: Image, rows: Rows, tensors: dict[str, Activations]
) -> CudaListing:
    symbol, vecs = spec.symbol("cuda"), image.pixel_bytes // VEC_BYTES
    grid = spread(image.n * image.n_c_blocks * vecs * image.h * image.w)
    check_size(rows.n * rows.stride)
    source, target = tensors
    is_forward = isinstance(spec, InOrderForward)
    return listing(
        "elementwise/in_order",
        symbol,
        image.dtype,
        (grid.launch(symbol, ("a0", "a1")),),
        _facts(spec, tensors, grid.loops),
        grid=grid,
        image=image,
        rows=rows,
        strides=Strides.of(image),
        vecs=vecs,
        source=source,
        target=target,
        name=source if is_forward else target,
        is_forward=is_forward,
    )


def _facts(spec: InOrderForward | InOrderBackward, tensors: dict[str, Activations], loops: tuple[str, ...]) -> Facts:
    (source_name, source), (target_name, target) = tensors.items()
    ctype, is_forward = dtype_tag(source.dtype), isinstance(spec, InOrderForward)
    written = "padding zero" if is_forward else "halo not written, padding zero"
    return Facts(
        title=f"{spec.text}  {source} -> {target}",
        source="asmgen/cuda/elementwise/in_order.py",
        formula=(spec.formula(),),
        arguments=(
            Argument("a0", source_name, f"{ctype} {source}", "in", "padding zero"),
            Argument("a1", target_name, f"{ctype} {target}", "out", written),
        ),
        flops=spec.flops(),
        bytes_read=source.size_bytes,
        bytes_written=target.size_bytes,
        tile="a thread moves 16 bytes of a pixel",
        loops=loops,
    )
