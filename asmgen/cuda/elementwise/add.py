"""y = a + b over whole tensors, 16 bytes a thread at a time; padding is 0 + 0."""

from __future__ import annotations

from asmgen.cuda.common.spread import Pixels, spread
from asmgen.cuda.common.strides import Strides, as_image
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing
from asmgen.plan.specs import Add, dtype_tag


def emit(spec: Add) -> CudaListing:
    """The listing of one shape: a, b, y (may be a or b; halo not written)."""
    images = {"a": as_image(spec.a), "b": as_image(spec.b), "y": as_image(spec.y)}
    symbol, walk = spec.symbol("cuda"), Pixels.of(images["y"])
    grid = spread(walk.items)
    return listing(
        "elementwise/add",
        symbol,
        spec.y.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, grid.loops),
        images={name: Strides.of(image) for name, image in images.items()},
        walk=walk,
        grid=grid,
    )


def _facts(spec: Add, loops: tuple[str, ...]) -> Facts:
    ctype = dtype_tag(spec.y.dtype)
    return Facts(
        title=f"{spec.text}  {spec.y}",
        source="asmgen/cuda/elementwise/add.py",
        formula=("y = a + b, element by element",),
        arguments=(
            Argument("a0", "a", f"{ctype} {spec.a}", "in", "padding zero"),
            Argument("a1", "b", f"{ctype} {spec.b}", "in", "padding zero"),
            Argument("a2", "y", f"{ctype} {spec.y}", "out", "may be a or b; halo not written"),
        ),
        flops=spec.flops(),
        bytes_read=spec.a.size_bytes + spec.b.size_bytes,
        bytes_written=spec.y.size_bytes,
        tile="a thread adds 16 bytes at a time",
        loops=loops,
    )
