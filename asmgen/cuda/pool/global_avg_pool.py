"""The mean over all pixels of a channel, and its gradient.

Forward, a warp takes a block of channels of a sample: its lanes read 16 bytes of several pixels at once, each adds up
its own pixels in order, and butterflies add the lanes of the same channels. Backward, a thread writes 16 bytes of a
pixel.
"""

from __future__ import annotations

from asmgen.cuda.common.spread import VEC_BYTES, Pixels, spread
from asmgen.cuda.common.strides import Strides
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs import GlobalAvgPoolBackward, GlobalAvgPoolForward, dtype_tag

_MAX_LONE_WARPS = 1024  # up to here every warp is a block, so that planes spread over all multiprocessors
_WARPS = 4  # of a block, otherwise
_WARP_LANES = 32


def emit_forward(spec: GlobalAvgPoolForward) -> CudaListing:
    """The listing of y = the means of x: x, y (overwritten)."""
    x, symbol = spec.x, spec.symbol("cuda")
    planes = x.n * x.n_c_blocks
    warps = 1 if planes <= _MAX_LONE_WARPS else _WARPS
    blocks = -(-planes // warps)
    vecs = x.pixel_bytes // VEC_BYTES
    loops = (
        f"block ({blocks}x), warp ({warps}x, a block of channels)",
        f"  pixel ({-(-x.h * x.w // (_WARP_LANES // vecs))}x, in steps of {_WARP_LANES // vecs})",
    )
    return listing(
        "pool/global_avg_pool_fwd",
        symbol,
        x.dtype,
        (Launch(symbol, (blocks, 1, 1), _WARP_LANES * warps, 0, ("a0", "a1")),),
        _facts(spec, "fwd", x, spec.y, loops),
        x=x,
        strides=Strides.of(x),
        y_row=spec.y.stride,
        planes=planes,
        warps=warps,
        vecs=vecs,
        share=literal(1 / (x.h * x.w), x.dtype),
    )


def emit_backward(spec: GlobalAvgPoolBackward) -> CudaListing:
    """The listing of dx: dy, dx (overwritten, halo untouched)."""
    dx, symbol = spec.dx, spec.symbol("cuda")
    walk = Pixels.of(dx)
    grid = spread(walk.items)
    return listing(
        "pool/global_avg_pool_bwd",
        symbol,
        dx.dtype,
        (grid.launch(symbol, ("a0", "a1")),),
        _facts(spec, "bwd", dx, spec.dy, grid.loops),
        walk=walk,
        grid=grid,
        dx=dx,
        strides=Strides.of(dx),
        dy_row=spec.dy.stride,
        share=literal(1 / (dx.h * dx.w), dx.dtype),
    )


def _facts(
    spec: GlobalAvgPoolForward | GlobalAvgPoolBackward, direction: str, image: Image, rows: Rows, loops: tuple[str, ...]
) -> Facts:
    ctype, size = dtype_tag(image.dtype), image.h * image.w
    is_forward = direction == "fwd"
    tensors: list[tuple[str, Activations]] = (
        [("x", image), ("y", rows)] if is_forward else [("dy", rows), ("dx", image)]
    )
    (source_name, source), (target_name, target) = tensors
    return Facts(
        title=f"{spec.text}  {source} -> {target}",
        source="asmgen/cuda/pool/global_avg_pool.py",
        formula=(f"y[n,c] = sum_{{h,w}} x[n,c,h,w] / {size}" if is_forward else f"dx[n,c,h,w] = dy[n,c] / {size}",),
        arguments=(
            Argument("a0", source_name, f"{ctype} {source}", "in", "padding zero"),
            Argument(
                "a1", target_name, f"{ctype} {target}", "out", "padding zero" if is_forward else "halo not written"
            ),
        ),
        flops=spec.flops(),
        bytes_read=source.size_bytes,
        bytes_written=target.size_bytes,
        tile="a warp sums a block of channels" if is_forward else "a thread writes 16 bytes of a pixel",
        loops=loops,
    )
