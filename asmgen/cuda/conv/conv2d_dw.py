"""dw and db of a convolution as a matrix product: rows are output channels, columns channels and taps, k pixels."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.gemm import Adding, misses
from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile, part_k_blocks
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.cuda.sparse import expand
from asmgen.plan.specs import Conv2dBackwardWeights, Conv2dBackwardWeightsPooled, dtype_tag
from asmgen.plan.specs.base import require

Spec = Conv2dBackwardWeights | Conv2dBackwardWeightsPooled


@dataclass(frozen=True)
class Geometry:
    """The constants of the text."""

    x: Strides
    x_origin: int  # what tap (0, 0) of output (0, 0) reads
    is_planar: bool
    is_whole_rows: bool  # a k block lies in one row of dz, or of dy
    part_k_blocks: int


def product(spec: Spec, precision: str) -> Product:
    """The product of a spec; K may be split into parts that a second launch adds."""
    conv, weights = spec.conv, spec.conv.weights
    taps = weights.kh * weights.kw
    is_planar = conv.x.block != weights.block
    positions = spec.pool.ph * spec.pool.pw if isinstance(spec, Conv2dBackwardWeightsPooled) else 0
    pixels = conv.x.n * conv.oh * conv.ow
    return Product(
        windows=weights.n_oc_blocks * weights.block,
        window=1,
        columns=weights.c * taps if is_planar else conv.x.n_c_blocks * taps * weights.block,
        k=pixels,
        k_blocks=-(-pixels // _pixels_of_block(spec)),
        element_bytes=weights.element_bytes,
        precision=precision,
        row_units=True,
        split_bytes=weights.size_bytes,
        is_gathered=is_planar,
        a_misses=misses(conv),
        expanded=positions,
    )


def _pixels_of_block(spec: Spec) -> int:
    """Of K: a block, or as many whole windows as fit one."""
    block = spec.conv.weights.block
    if isinstance(spec, Conv2dBackwardWeights):
        return block
    positions = spec.pool.n_positions
    require(positions <= block, spec, f"a block of {block} pixels has no place for a window")
    require(spec.pool.is_tiling, spec, "windows must tile")
    return block - block % positions


def emit(spec: Spec, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, dz or (dy, codes), dw (db behind); a block sums a tile of output channels and taps over a part of the pixels.

    Raises ValueError where a block of K has no place for a pool's window, or where windows do not tile.
    """
    conv, weights = spec.conv, spec.conv.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    x_at = Strides.of(conv.x)
    geometry = Geometry(
        x=x_at,
        x_origin=x_at.at(-conv.pt, -conv.pl),
        is_planar=shape.is_gathered,
        is_whole_rows=_is_whole_rows(spec),
        part_k_blocks=part_k_blocks(shape, tile),
    )
    symbol = spec.symbol("cuda")
    written = (weights.size_bytes if conv.bias else weights.bias_offset_bytes) // weights.element_bytes
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    grid = (tiles[0] * tiles[1], tile.split, 1)
    adding = None
    pooled = isinstance(spec, Conv2dBackwardWeightsPooled)
    *read, target = ("a0", "a1", "a2", "a3") if pooled else ("a0", "a1", "a2")
    if tile.split > 1:
        adding = Adding.of(f"{spec.stem()}_add_cuda", written, tile.split, weights.element_bytes)
    check_size(tile.split * written)
    launch = Launch(symbol, grid, tile.threads, tile.shared_bytes, (*read, "workspace" if adding else target))
    return listing(
        "conv/conv2d_dw",
        symbol,
        weights.dtype,
        (launch, adding.launch(("workspace", target))) if adding else (launch,),
        _facts(spec, tile, geometry, tiles),
        workspace_bytes=adding.workspace_bytes if adding else 0,
        conv=conv,
        weights=weights,
        tile=tile,
        at=geometry,
        dz=None if isinstance(spec, Conv2dBackwardWeightsPooled) else Strides.of(spec.dz),
        expansion=expand.Expansion.of(spec.dy, spec.pool) if isinstance(spec, Conv2dBackwardWeightsPooled) else None,
        adding=adding,
        stem=spec.stem(),
    )


def _is_whole_rows(spec: Spec) -> bool:
    if isinstance(spec, Conv2dBackwardWeights):
        return spec.conv.ow % spec.conv.weights.block == 0
    return spec.dy.w % (spec.conv.weights.block // (spec.pool.ph * spec.pool.pw)) == 0


def _facts(spec: Spec, tile: Tile, at: Geometry, tiles: tuple[int, int]) -> Facts:
    conv, weights = spec.conv, spec.conv.weights
    ctype = dtype_tag(weights.dtype)
    gradient: tuple[Argument, ...]
    dz: tuple[str, ...]
    if isinstance(spec, Conv2dBackwardWeightsPooled):
        gradient, gradient_bytes, target = expand.arguments(spec.dy, 1), expand.bytes_read(spec.dy), "a3"
        dz = (expand.formula(spec.pool),)
    else:
        gradient, gradient_bytes, target = (Argument("a1", "dz", f"{ctype} {spec.dz}", "in"),), spec.dz.size_bytes, "a2"
        dz = ()
    pixels = _pixels_of_block(spec)
    steps = -(-at.part_k_blocks // tile.stage_k_blocks)
    db = ("db[o] = sum_n,h,w dz[n,o,h,w]",) if conv.bias else ()
    columns = "channels and taps" if at.is_planar else f"columns: taps of {weights.block} channels"
    return Facts(
        title=f"{spec.text}  {weights.c}x{conv.x.h}x{conv.x.w}, {weights.oc}x{conv.oh}x{conv.ow} -> "
        f"{weights.oc}x{weights.c}x{weights.kh}x{weights.kw}, batch {conv.x.n}",
        source="asmgen/cuda/conv/conv2d_dw.py",
        formula=(
            f"dw[o,c,i,j] = sum_n,h,w dz[n,o,h,w] * x[n, c, h*{conv.sh}+i-{conv.pt}, w*{conv.sw}+j-{conv.pl}]",
            *db,
            *dz,
        ),
        arguments=(
            Argument("a0", "x", f"{ctype} {conv.x}", "in"),
            *gradient,
            Argument(target, "dw", f"{ctype} {weights}", "out", "" if conv.bias else "no bias is written"),
        ),
        flops=spec.flops(),
        bytes_read=conv.x.size_bytes + gradient_bytes,
        bytes_written=weights.size_bytes if conv.bias else weights.bias_offset_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} output channels, {tiles[1]}x of {tile.columns} {columns}, "
            f"{tile.split}x parts)",
            f"  step ({steps}x, {tile.stage_k_blocks} of {at.part_k_blocks} k blocks of {pixels} pixels)",
        ),
    )
