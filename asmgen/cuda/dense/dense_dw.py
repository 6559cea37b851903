"""dw and db of a dense layer, with the optimizer's step or stored: rows are outputs, columns inputs, k samples.

With the step no gradient is stored: the lane that has summed one updates its parameter. K is never split, a batch is
short.
"""

from __future__ import annotations

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.optimizer.update import constants, formula
from asmgen.cuda.render import listing
from asmgen.plan.layout import DenseWeights
from asmgen.plan.specs import DenseBackwardWeightsStep, DenseWeightGradient, dtype_tag


def product(spec: DenseWeightGradient, precision: str) -> Product:
    """The product of a spec, whose weights lie by input: CUDA's plans have no others."""
    weights = spec.weights
    assert isinstance(weights, DenseWeights)
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


def emit(spec: DenseWeightGradient, precision: str, tile: Tile | None = None) -> CudaListing:
    """x, dy, w (bias behind, states at their distances), hyper; or x, dy, dw (bias behind)."""
    x, dy, weights = spec.x, spec.dy, spec.weights
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    symbol = spec.symbol("cuda")
    step = spec.update if isinstance(spec, DenseBackwardWeightsStep) else None
    state_bytes = spec.state_bytes if isinstance(spec, DenseBackwardWeightsStep) else ()
    distances = [distance // weights.element_bytes for distance in state_bytes]
    for size in (x.n * x.stride, dy.n * dy.stride, sum(distances[-1:]) + weights.size_bytes // weights.element_bytes):
        check_size(size)
    tiles = -(-shape.windows // tile.rows), -(-shape.columns // tile.columns)
    return listing(
        "dense/dense_dw",
        symbol,
        x.dtype,
        (
            Launch(
                symbol,
                (tiles[0] * tiles[1], 1, 1),
                tile.threads,
                tile.shared_bytes,
                ("a0", "a1", "a2", *(("a3",) if step else ())),
            ),
        ),
        _facts(spec, shape, tile, tiles),
        spec=spec,
        step=step,
        weights=weights,
        tile=tile,
        stem=spec.stem(),
        states=dict(zip(("v",) if len(distances) == 1 else ("m", "v"), distances, strict=False)),
        **(constants(step) if step else {}),
    )


def _facts(spec: DenseWeightGradient, shape: Product, tile: Tile, tiles: tuple[int, int]) -> Facts:
    x, dy, weights, ctype = spec.x, spec.dy, spec.weights, dtype_tag(spec.x.dtype)
    block_bytes = weights.bias_offset_bytes + (weights.n_rows * weights.element_bytes if spec.bias else 0)
    notes = [] if spec.bias else ["bias untouched"]
    block, n_read = f"{ctype} {weights}", 0
    end: tuple[str, ...] = ("dw = g",)
    arguments: tuple[Argument, ...] = (Argument("a2", "dw", block, "out", "; ".join(notes)),)
    if isinstance(spec, DenseBackwardWeightsStep):
        end, n_read = formula(spec.update), spec.n_blocks
        notes += [f"state {at}: + {distance} B" for at, distance in enumerate(spec.state_bytes, start=1)]
        hyper = Argument("a3", "hyper", f"{ctype} [3]", "in", "lr, step, inv_sqrt")
        arguments = (Argument("a2", "w", block, "in/out", "; ".join(notes)), hyper)
    return Facts(
        title=f"{spec.text}  {x.features} -> {weights.out}, batch {x.n}",
        source="asmgen/cuda/dense/dense_dw.py",
        formula=("g[o,k] = sum_n dy[n,o] * x[n,k]" + (",   g_b[o] = sum_n dy[n,o]" if spec.bias else ""), *end),
        arguments=(
            Argument("a0", "x", f"{ctype} {x}", "in"),
            Argument("a1", "dy", f"{ctype} {dy}", "in"),
            *arguments,
        ),
        flops=spec.flops(),
        bytes_read=x.size_bytes + dy.size_bytes + n_read * block_bytes,
        bytes_written=spec.n_blocks * block_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.rows} outputs, {tiles[1]}x of {tile.columns} inputs)",
            f"  step ({-(-shape.k_blocks // tile.stage_k_blocks)}x, {tile.stage_k_blocks} of {shape.k_blocks} k blocks "
            f"of {weights.block} samples)",
        ),
    )
