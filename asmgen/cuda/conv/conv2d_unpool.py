"""dz from dy behind a convolution: the gradient of its activation and of the pool that is fused with it.

A thread takes 16 bytes of a pooled pixel, masks them by the activation once, and writes them to all positions of the
window: the argmax code (or the live bits of an average) says which of them get it, the others get zeros.
"""

from __future__ import annotations

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.common.spread import Pixels, spread
from asmgen.cuda.common.strides import Strides
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.plan.specs import Conv2dUnpool, dtype_tag


def emit(spec: Conv2dUnpool) -> CudaListing:
    """The listing of one shape: dy, y and codes (where they are read), dz (overwritten, halo untouched)."""
    symbol, pool = spec.symbol("cuda"), spec.pool
    by_y, has_codes = spec.reads_y, spec.reads_codes
    walk = Pixels.of(spec.y)
    grid = spread(walk.items)
    window_h, window_w = (pool.ph, pool.pw) if pool else (1, 1)
    args = ("a0", *(("a1",) if by_y else ()), *(("a2",) if has_codes else ()), "a3")
    images = {"dy": spec.dy, **({"y": spec.y} if by_y else {}), "dz": spec.dz}
    return listing(
        "conv/conv2d_unpool",
        symbol,
        spec.dz.dtype,
        (grid.launch(symbol, args),),
        _facts(spec, grid.loops),
        code=code_of(spec.act),
        by_y=by_y,
        has_codes=has_codes,
        kind=pool.kind if pool else "none",
        window_h=window_h,
        window_w=window_w,
        walk=walk,
        grid=grid,
        images={name: Strides.of(image) for name, image in images.items()},
        alpha=literal(spec.act.alpha, spec.dz.dtype),
        share=literal(1 / (window_h * window_w), spec.dz.dtype),
    )


def _facts(spec: Conv2dUnpool, loops: tuple[str, ...]) -> Facts:
    pool, act, ctype = spec.pool, spec.act, dtype_tag(spec.dz.dtype)
    by_y, has_codes = spec.reads_y, spec.reads_codes
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    slope = f" * (y > 0 ? 1 : {act.alpha})" if act else ""
    where = "dz[n,c,h,w]" if pool is None else f"dz[n,c,h*{ph}+r,w*{pw}+s]"
    if pool is None:
        formula = f"{where} = dy[n,c,h,w]{slope}"
    elif pool.kind == "max":
        formula = f"{where} = (code[n,c,h,w] == r*{pw}+s) * dy[n,c,h,w]{slope}"
    else:
        live = f" * (bit r*{pw}+s of code[n,c,h,w] ? 1 : {act.alpha})" if act else ""
        formula = f"{where} = dy[n,c,h,w] / {ph * pw}{live}"
    n_codes = spec.y.n * spec.y.code_sample_bytes
    codes = f"u8 [{spec.y.n}][{spec.y.n_c_blocks}][{spec.y.h}][{spec.y.w}][{spec.y.block}]"
    return Facts(
        title=f"{spec.text}  {spec.y.c}x{spec.y.h}x{spec.y.w} -> {spec.dz.c}x{spec.dz.h}x{spec.dz.w}",
        source="asmgen/cuda/conv/conv2d_unpool.py",
        formula=(formula,),
        arguments=(
            Argument("a0", "dy", f"{ctype} {spec.dy}", "in"),
            *((Argument("a1", "y", f"{ctype} {spec.y}", "in"),) if by_y else ()),
            *((Argument("a2", "codes", codes, "in"),) if has_codes else ()),
            Argument("a3", "dz", f"{ctype} {spec.dz}", "out", "halo untouched"),
        ),
        flops=spec.flops(),
        bytes_read=spec.dy.size_bytes + by_y * spec.y.size_bytes + has_codes * n_codes,
        bytes_written=spec.dz.n * spec.dz.n_c_blocks * spec.dz.h * spec.dz.w * spec.dz.pixel_bytes,
        tile=f"a thread turns 16 bytes of a pixel of dy into those of {ph} x {pw} pixels of dz",
        loops=loops,
    )
