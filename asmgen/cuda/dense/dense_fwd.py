"""y = act(x w + b) of a dense layer: rows are samples, columns outputs, k inputs, in parts where there are many."""

from __future__ import annotations

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.common.gemm import Adding
from asmgen.cuda.common.strides import check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile, part_k_blocks
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing, literal
from asmgen.plan.specs import DenseForward, dtype_tag


def product(spec: DenseForward, precision: str) -> Product:
    """The product of a spec; K may be split into parts that a second launch adds."""
    x, weights = spec.x, spec.weights
    return Product(
        windows=x.n,
        window=1,
        columns=spec.y.stride,
        k=x.features,
        k_blocks=x.n_vectors,
        element_bytes=weights.element_bytes,
        precision=precision,
        split_bytes=x.n * spec.y.sample_bytes,
    )


def emit(spec: DenseForward, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, w (bias behind), y."""
    x, weights, y = spec.x, spec.weights, spec.y
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    symbol = spec.symbol("cuda")
    elements = y.n * y.stride
    for size in (x.n * x.stride, weights.size_bytes // weights.element_bytes, tile.split * elements):
        check_size(size)
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    adding = None
    args: tuple[str, ...] = ("a0", "a1", "a2")
    second: tuple[Launch, ...] = ()
    if tile.split > 1:
        adding = Adding.of(f"{spec.stem()}_add_cuda", elements, tile.split, weights.element_bytes)
        args = ("a0", "a1", "workspace")
        second = (adding.launch(("workspace", "a1", "a2") if spec.bias else ("workspace", "a2")),)
    first = Launch(symbol, (tiles[0] * tiles[1], tile.split, 1), tile.threads, tile.shared_bytes, args)
    return listing(
        "dense/dense_fwd",
        symbol,
        y.dtype,
        (first, *second),
        _facts(spec, shape, tile, tiles),
        workspace_bytes=adding.workspace_bytes if adding else 0,
        spec=spec,
        weights=weights,
        tile=tile,
        part_k_blocks=part_k_blocks(shape, tile),
        adding=adding,
        stem=spec.stem(),
        code=code_of(spec.act),
        alpha=literal(spec.act.alpha, y.dtype),
    )


def _facts(spec: DenseForward, shape: Product, tile: Tile, tiles: tuple[int, int]) -> Facts:
    x, weights, y = spec.x, spec.weights, spec.y
    ctype = dtype_tag(y.dtype)
    blocks = part_k_blocks(shape, tile)
    z = f"z[n,o] = {'b[o] + ' if spec.bias else ''}sum_k x[n,k] * w[o,k]"
    return Facts(
        title=f"{spec.text}  {x.features} -> {weights.out}, batch {x.n}",
        source="asmgen/cuda/dense/dense_fwd.py",
        formula=(z, f"y = {spec.act.kind}(z)" if spec.act else "y = z"),
        arguments=(
            Argument("a0", "x", f"{ctype} {x}", "in"),
            Argument("a1", "w", f"{ctype} {weights}", "in"),
            Argument("a2", "y", f"{ctype} {y}", "out", "padding too"),
        ),
        flops=spec.flops(),
        bytes_read=x.size_bytes + weights.size_bytes,
        bytes_written=y.size_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} samples, {tiles[1]}x of {tile.columns} outputs, "
            f"{tile.split}x parts)",
            f"  step ({-(-blocks // tile.stage_k_blocks)}x, {tile.stage_k_blocks} of {blocks} k blocks of "
            f"{weights.block} inputs)",
        ),
    )
