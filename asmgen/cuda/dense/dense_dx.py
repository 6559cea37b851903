"""dx of a dense layer: rows are samples, columns inputs, k outputs. Reads every weight once."""

from __future__ import annotations

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.plan.specs import DenseBackwardInput, dtype_tag


def product(spec: DenseBackwardInput, precision: str) -> Product:
    """The product of a spec."""
    weights = spec.weights
    return Product(
        windows=spec.dx.n,
        window=1,
        columns=spec.dx.stride,
        k=weights.out,
        k_blocks=-(-weights.n_rows // weights.block),
        element_bytes=weights.element_bytes,
        precision=precision,
    )


def emit(spec: DenseBackwardInput, precision: str, tile: Tile | None = None) -> CudaListing:
    """dy, w, dx."""
    dx, dy, weights = spec.dx, spec.dy, spec.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    symbol = spec.symbol("cuda")
    for size in (dx.n * dx.stride, dy.n * dy.stride, weights.size_bytes // weights.element_bytes):
        check_size(size)
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    ctype = dtype_tag(dx.dtype)
    facts = Facts(
        title=f"{spec.text}  {weights.out} -> {dx.features}, batch {dx.n}",
        source="asmgen/cuda/dense/dense_dx.py",
        formula=("dx[n,k] = sum_o dy[n,o] * w[o,k]",),
        arguments=(
            Argument("a0", "dy", f"{ctype} {dy}", "in"),
            Argument("a1", "w", f"{ctype} {weights}", "in"),
            Argument("a2", "dx", f"{ctype} {dx}", "out", "padding too"),
        ),
        flops=spec.flops(),
        bytes_read=dy.size_bytes + weights.bias_offset_bytes,
        bytes_written=dx.size_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} samples, {tiles[1]}x of {tile.columns} inputs)",
            f"  step ({-(-shape.k_blocks // tile.stage_k_blocks)}x, {tile.stage_k_blocks} of {shape.k_blocks} k blocks "
            f"of {weights.block} outputs)",
        ),
    )
    return listing(
        "dense/dense_dx",
        symbol,
        dx.dtype,
        (Launch(symbol, (tiles[0] * tiles[1], 1, 1), tile.threads, tile.shared_bytes, ("a0", "a1", "a2")),),
        facts,
        spec=spec,
        weights=weights,
        tile=tile,
        stem=spec.stem(),
    )
