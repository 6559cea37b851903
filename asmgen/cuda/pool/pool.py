"""Pools of their own: any window and stride. Forward a thread takes 16 bytes of an output pixel, backward of an input
pixel: it gathers from the windows that cover it, in window order, so that nothing is added by two threads.
"""

from __future__ import annotations

from asmgen.cuda.common.spread import Pixels, spread
from asmgen.cuda.common.strides import Strides
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import Image
from asmgen.plan.specs import PoolBackward, PoolForward, dtype_tag


def emit_forward(spec: PoolForward) -> CudaListing:
    """The listing of y = pool(x): x, y (halo not written), codes (max)."""
    symbol, pool = spec.symbol("cuda"), spec.pool
    walk = Pixels.of(spec.y)
    grid = spread(walk.items)
    images = {"x": spec.x, "y": spec.y}
    taps = f"x[n,c,h*{pool.sh}+r,w*{pool.sw}+s]"
    formula = f"y[n,c,h,w] = sum_{{r,s}} {taps} / {pool.ph * pool.pw}"
    if pool.kind == "max":
        formula = f"y[n,c,h,w] = max_{{r,s}} {taps}"
    if spec.has_codes:
        formula += f", code[n,c,h,w] = r*{pool.pw}+s of the first maximum"
    return listing(
        "pool/pool_fwd",
        symbol,
        spec.x.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2") if spec.has_codes else ("a0", "a1")),),
        _facts(spec, "fwd", formula, images, spec.y, grid.loops),
        pool=pool,
        has_codes=spec.has_codes,
        walk=walk,
        grid=grid,
        images={name: Strides.of(image) for name, image in images.items()},
        share=literal(1 / (pool.ph * pool.pw), spec.x.dtype),
    )


def emit_backward(spec: PoolBackward) -> CudaListing:
    """The listing of dx: dy, codes (max), dx (overwritten, halo untouched)."""
    symbol, pool = spec.symbol("cuda"), spec.pool
    walk = Pixels.of(spec.dx)
    grid = spread(walk.items)
    images = {"dy": spec.dy, "dx": spec.dx}
    term = f"(code[n,c,p,q] == (h-p*{pool.sh})*{pool.pw}+(w-q*{pool.sw})) * dy[n,c,p,q]"
    if pool.kind == "avg":
        term = f"dy[n,c,p,q] / {pool.ph * pool.pw}"
    return listing(
        "pool/pool_bwd",
        symbol,
        spec.dx.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2") if pool.kind == "max" else ("a0", "a2")),),
        _facts(spec, "bwd", f"dx[n,c,h,w] = sum over windows p,q with h,w inside: {term}", images, spec.dy, grid.loops),
        pool=pool,
        walk=walk,
        grid=grid,
        dy=spec.dy,
        images={name: Strides.of(image) for name, image in images.items()},
        share=literal(1 / (pool.ph * pool.pw), spec.dx.dtype),
    )


def _facts(
    spec: PoolForward | PoolBackward,
    direction: str,
    formula: str,
    images: dict[str, Image],
    pooled: Image,
    loops: tuple[str, ...],
) -> Facts:
    pool, ctype = spec.pool, dtype_tag(pooled.dtype)
    (source_name, source), (target_name, target) = images.items()
    source_at, target_at, codes_at = ("a0", "a1", "a2") if direction == "fwd" else ("a0", "a2", "a1")
    codes = f"u8 [{pooled.n}][{pooled.n_c_blocks}][{pooled.h}][{pooled.w}][{pooled.block}]"
    has_codes = spec.has_codes if isinstance(spec, PoolForward) else pool.kind == "max"
    code_bytes = pooled.n * pooled.code_sample_bytes if has_codes else 0
    arguments = [
        Argument(source_at, source_name, f"{ctype} {source}", "in"),
        Argument(target_at, target_name, f"{ctype} {target}", "out", "halo not written"),
    ]
    if has_codes:
        arguments.append(Argument(codes_at, "codes", codes, "out" if direction == "fwd" else "in"))
    return Facts(
        title=f"{spec.text}  {source} -> {target}",
        source="asmgen/cuda/pool/pool.py",
        formula=(formula,),
        arguments=tuple(sorted(arguments, key=lambda argument: argument.position)),
        flops=spec.flops(),
        bytes_read=source.size_bytes + (code_bytes if direction == "bwd" else 0),
        bytes_written=target.size_bytes + (code_bytes if direction == "fwd" else 0),
        tile=f"a thread computes 16 bytes of a pixel of {target_name}",
        loops=loops,
    )
