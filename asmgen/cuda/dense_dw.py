"""dw and db of a dense layer: rows are outputs, columns inputs, k samples. Writes every gradient once."""

from __future__ import annotations

from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.cuda.strides import check_size
from asmgen.cuda.tile_gemm import Product, Tile, choose_tile
from asmgen.plan.specs import DenseBackwardWeights, dtype_tag


def product(spec: DenseBackwardWeights, precision: str) -> Product:
    """The product of a spec."""
    weights = spec.weights
    return Product(
        windows=weights.n_rows,
        window=1,
        columns=spec.x.stride,
        k=spec.x.n,
        k_blocks=-(-spec.x.n // weights.block),
        element_bytes=weights.element_bytes,
        precision=precision,
        row_units=True,
    )


def emit(spec: DenseBackwardWeights, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, dy, dw (db behind)."""
    x, dy, weights = spec.x, spec.dy, spec.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    symbol = spec.symbol("cuda")
    for size in (x.n * x.stride, dy.n * dy.stride, weights.size_bytes // weights.element_bytes):
        check_size(size)
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    ctype = dtype_tag(x.dtype)
    facts = Facts(
        title=f"dense_dw  {x.features} -> {weights.out}, batch {x.n}",
        source="asmgen/cuda/dense_dw.py",
        formula=("dw[o,k] = sum_n dy[n,o] * x[n,k]", *(("db[o] = sum_n dy[n,o]",) if spec.bias else ())),
        arguments=(
            Argument("a0", "x", f"{ctype} {x}", "in"),
            Argument("a1", "dy", f"{ctype} {dy}", "in"),
            Argument("a2", "dw", f"{ctype} {weights}", "out", "" if spec.bias else "no bias is written"),
        ),
        flops=spec.flops(),
        bytes_read=x.size_bytes + dy.size_bytes,
        bytes_written=weights.bias_offset_bytes + (weights.n_rows * weights.element_bytes if spec.bias else 0),
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} outputs, {tiles[1]}x of {tile.columns} inputs)",
            f"  step ({-(-shape.k_blocks // tile.stage_k_blocks)}x, {tile.stage_k_blocks} of {shape.k_blocks} k blocks "
            f"of {weights.block} samples)",
        ),
    )
    return listing(
        "dense_dw",
        symbol,
        x.dtype,
        (Launch(symbol, (tiles[0] * tiles[1], 1, 1), tile.threads, tile.shared_bytes, ("a0", "a1", "a2")),),
        facts,
        spec=spec,
        weights=weights,
        tile=tile,
        stem=spec.stem(),
    )
