"""y = pool(act(conv(x) + b)) as an implicit matrix product: rows are pixels, columns output channels, k taps."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.common.gemm import misses
from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing, literal
from asmgen.plan.specs import Conv2dForward, dtype_tag


@dataclass(frozen=True)
class Geometry:
    """The constants of the text."""

    x: Strides
    y: Strides
    x_origin: int  # what tap (0, 0) of output (0, 0) reads
    is_planar: bool
    window_h: int
    window_w: int
    passes: int
    n_windows: int


def product(spec: Conv2dForward, precision: str) -> Product:
    """The product of a spec; K walks (channel block, tap), of planar x single channels and taps."""
    conv, weights = spec.conv, spec.conv.weights
    taps = weights.kh * weights.kw
    is_planar = conv.x.block != weights.block
    k_blocks = -(-weights.c * taps // weights.block) if is_planar else conv.x.n_c_blocks * taps
    return Product(
        windows=spec.y.n * spec.y.h * spec.y.w,
        window=spec.pool.ph * spec.pool.pw if spec.pool else 1,
        columns=weights.n_oc_blocks * weights.block,
        k=weights.c * taps,
        k_blocks=k_blocks,
        element_bytes=weights.element_bytes,
        precision=precision,
        is_gathered=is_planar,
        a_misses=misses(conv),
    )


def emit(spec: Conv2dForward, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, w (bias behind), y, codes; a block sums a tile of pixels and output channels, a lane pools its windows."""
    conv, y, weights = spec.conv, spec.y, spec.conv.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    x_at, y_at = Strides.of(conv.x), Strides.of(y)
    check_size(weights.size_bytes // weights.element_bytes)
    window_h, window_w = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
    geometry = Geometry(
        x=x_at,
        y=y_at,
        x_origin=x_at.at(-conv.pt, -conv.pl),
        is_planar=shape.is_gathered,
        window_h=window_h,
        window_w=window_w,
        passes=-(-shape.window // tile.window_slots),
        n_windows=shape.windows,
    )
    symbol = spec.symbol("cuda")
    tiles = -(-shape.windows // tile.windows), -(-shape.columns // tile.columns)
    shared_bytes = tile.shared_bytes + (4 * tile.rows if geometry.is_planar else 0)
    args = ("a0", "a1", "a2", "a3") if spec.codes else ("a0", "a1", "a2")
    return listing(
        "conv/conv2d_fwd",
        symbol,
        y.dtype,
        (Launch(symbol, (tiles[0] * tiles[1], 1, 1), tile.threads, shared_bytes, args),),
        _facts(spec, shape, tile, geometry, tiles),
        spec=spec,
        conv=conv,
        weights=weights,
        tile=tile,
        at=geometry,
        stem=spec.stem(),
        code=code_of(spec.act),
        alpha=literal(spec.act.alpha, y.dtype),
    )


def _facts(spec: Conv2dForward, shape: Product, tile: Tile, at: Geometry, tiles: tuple[int, int]) -> Facts:
    conv, y, weights = spec.conv, spec.y, spec.conv.weights
    ctype = dtype_tag(y.dtype)
    bias = "b[o] + " if conv.bias else ""
    x = f"x[n, c, h*{conv.sh}+i-{conv.pt}, w*{conv.sw}+j-{conv.pl}]"
    z = f"z[n,o,h,w] = {bias}sum_c,i,j {x} * w[o,c,i,j]"
    act = "f(z)" if spec.act else "z"
    if spec.pool is None:
        pooled = f"y = {act}"
    else:
        mean_or_max = "max" if spec.pool.kind == "max" else "mean"
        pooled = f"y = {mean_or_max} of {act} over windows of {at.window_h} x {at.window_w}"
    what = f", f = {spec.act.kind}" if spec.act else ""
    steps = -(-shape.k_blocks // tile.stage_k_blocks)
    codes = Argument(
        "a3", "codes", f"u8 [{y.n}][{y.n_c_blocks}][{y.h}][{y.w}][{y.block}]", "out",
        "first position of the maximum" if spec.pool and spec.pool.kind == "max" else "bits of positions with z > 0",
    )  # fmt: skip
    size = conv.x.element_bytes
    written = y.n * y.n_c_blocks * y.h * y.w * y.block
    return Facts(
        title=f"{spec.text}  {weights.c}x{conv.x.h}x{conv.x.w} -> {y.c}x{y.h}x{y.w}, batch {y.n}",
        source="asmgen/cuda/conv/conv2d_fwd.py",
        formula=(z, pooled + what),
        arguments=(
            Argument("a0", "x", f"{ctype} {conv.x}", "in"),
            Argument("a1", "w", f"{ctype} {weights}", "in"),
            Argument("a2", "y", f"{ctype} {y}", "out", "halo untouched" if y.halo else ""),
            *((codes,) if spec.codes else ()),
        ),
        flops=spec.flops(),
        bytes_read=conv.x.size_bytes + weights.size_bytes,
        bytes_written=written * (size + (1 if spec.codes else 0)),
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.windows} {'windows' if shape.window > 1 else 'pixels'}, "
            f"{tiles[1]}x of {tile.columns} output channels)",
            *((f"  pass ({at.passes}x, {tile.window_slots} positions of the windows)",) if at.passes > 1 else ()),
            f"  step ({steps}x, {tile.stage_k_blocks} of {shape.k_blocks} k blocks: "
            + ("channel and tap)" if at.is_planar else "channel block, tap)"),
        ),
    )
