"""dw and db of a convolution as a matrix product: rows are output channels, columns channels and taps, k pixels."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.gemm import Adding, misses
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.cuda.strides import Strides, check_size
from asmgen.cuda.tile_gemm import Product, Tile, choose_tile, part_k_blocks
from asmgen.plan.specs import Conv2dBackwardWeights, dtype_tag


@dataclass(frozen=True)
class Geometry:
    """The constants of the text."""

    x: Strides
    dz: Strides
    x_origin: int  # what tap (0, 0) of output (0, 0) reads
    is_planar: bool
    is_whole_rows: bool  # a k block lies in one row of dz
    part_k_blocks: int


def product(spec: Conv2dBackwardWeights, precision: str) -> Product:
    """The product of a spec; K may be split into parts that a second launch adds."""
    conv, weights, dz = spec.conv, spec.conv.weights, spec.dz
    taps = weights.kh * weights.kw
    is_planar = conv.x.block != weights.block
    pixels = dz.n * conv.oh * conv.ow
    return Product(
        windows=weights.n_oc_blocks * weights.block,
        window=1,
        columns=weights.c * taps if is_planar else conv.x.n_c_blocks * taps * weights.block,
        k=pixels,
        k_blocks=-(-pixels // weights.block),
        element_bytes=weights.element_bytes,
        precision=precision,
        row_units=True,
        split_bytes=weights.size_bytes,
        is_gathered=is_planar,
        a_misses=misses(conv),
    )


def emit(spec: Conv2dBackwardWeights, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, dz, dw (db behind); a block sums a tile of output channels and taps over one part of the pixels."""
    conv, dz, weights = spec.conv, spec.dz, spec.conv.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    x_at = Strides.of(conv.x)
    geometry = Geometry(
        x=x_at,
        dz=Strides.of(dz),
        x_origin=x_at.at(-conv.pt, -conv.pl),
        is_planar=shape.is_gathered,
        is_whole_rows=conv.ow % weights.block == 0,
        part_k_blocks=part_k_blocks(shape, tile),
    )
    symbol = spec.symbol("cuda")
    written = (weights.size_bytes if conv.bias else weights.bias_offset_bytes) // weights.element_bytes
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    grid = (tiles[0] * tiles[1], tile.split, 1)
    adding = None
    args: tuple[str, ...] = ("a0", "a1", "a2")
    if tile.split > 1:
        adding = Adding.of(f"{spec.stem()}_add_cuda", written, tile.split, weights.element_bytes)
        args = ("a0", "a1", "workspace")
    check_size(tile.split * written)
    launch = Launch(symbol, grid, tile.threads, tile.shared_bytes, args)
    return listing(
        "conv2d_dw",
        symbol,
        dz.dtype,
        (launch, adding.launch(("workspace", "a2"))) if adding else (launch,),
        _facts(spec, shape, tile, geometry, tiles),
        workspace_bytes=adding.workspace_bytes if adding else 0,
        spec=spec,
        conv=conv,
        weights=weights,
        tile=tile,
        at=geometry,
        adding=adding,
        stem=spec.stem(),
    )


def _facts(spec: Conv2dBackwardWeights, shape: Product, tile: Tile, at: Geometry, tiles: tuple[int, int]) -> Facts:
    conv, dz, weights = spec.conv, spec.dz, spec.conv.weights
    ctype = dtype_tag(dz.dtype)
    steps = -(-at.part_k_blocks // tile.stage_k_blocks)
    db = ("db[o] = sum_n,h,w dz[n,o,h,w]",) if conv.bias else ()
    columns = "channels and taps" if at.is_planar else f"columns: taps of {weights.block} channels"
    return Facts(
        title=f"conv2d_dw  {weights.c}x{conv.x.h}x{conv.x.w}, {dz.c}x{dz.h}x{dz.w} -> "
        f"{dz.c}x{weights.c}x{weights.kh}x{weights.kw}, batch {dz.n}",
        source="asmgen/cuda/conv2d_dw.py",
        formula=(
            f"dw[o,c,i,j] = sum_n,h,w dz[n,o,h,w] * x[n, c, h*{conv.sh}+i-{conv.pt}, w*{conv.sw}+j-{conv.pl}]",
            *db,
        ),
        arguments=(
            Argument("a0", "x", f"{ctype} {conv.x}", "in"),
            Argument("a1", "dz", f"{ctype} {dz}", "in"),
            Argument("a2", "dw", f"{ctype} {weights}", "out", "" if conv.bias else "no bias is written"),
        ),
        flops=spec.flops(),
        bytes_read=conv.x.size_bytes + dz.size_bytes,
        bytes_written=weights.size_bytes if conv.bias else weights.bias_offset_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} output channels, {tiles[1]}x of {tile.columns} {columns}, "
            f"{tile.split}x parts)",
            f"  step ({steps}x, {tile.stage_k_blocks} of {at.part_k_blocks} k blocks of {weights.block} pixels)",
        ),
    )
