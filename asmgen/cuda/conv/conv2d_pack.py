"""The copy of a convolution's weights for the input gradient: lanes = input channels from lanes = output channels.

A block of threads turns one block of output channels x one of input channels, for as many taps as fit in shared
memory: it reads and writes whole 64-byte lanes of taps.
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import DEFAULT_SHARED_BYTES, Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.plan.layout import ConvWeights
from asmgen.plan.specs import Conv2dPackBackwardInput, dtype_tag

_THREADS = 128


@dataclass(frozen=True)
class Tile:
    """Taps that a block turns, blocks that take all taps, and elements of a channel's row in shared memory.

    The row is one longer than its taps, so that lanes which read a column of channels meet other banks.
    """

    taps: int
    tap_blocks: int
    row: int
    shared_bytes: int


def choose_tile(weights: ConvWeights) -> Tile:
    """All taps, or as many as the default shared memory holds."""
    n_taps = weights.kh * weights.kw
    fitting = (DEFAULT_SHARED_BYTES // (weights.block * weights.element_bytes) - 1) // weights.block
    taps = min(n_taps, fitting)
    row = taps * weights.block + 1
    return Tile(taps, -(-n_taps // taps), row, weights.block * row * weights.element_bytes)


def emit(spec: Conv2dPackBackwardInput) -> CudaListing:
    """The listing of one shape: w, w_dx (overwritten, pad lanes zero)."""
    weights = spec.weights
    check_size((weights.bias_offset_bytes + weights.input_gradient().bias_offset_bytes) // weights.element_bytes)
    tile, symbol = choose_tile(weights), spec.symbol("cuda")
    grid = (weights.n_oc_blocks, weights.input_gradient().n_oc_blocks, tile.tap_blocks)
    return listing(
        "conv/conv2d_pack_dx",
        symbol,
        weights.dtype,
        (Launch(symbol, grid, _THREADS, tile.shared_bytes, ("a0", "a1")),),
        _facts(spec, tile, grid),
        stem=spec.stem(),
        weights=weights,
        tile=tile,
        threads=_THREADS,
    )


def _facts(spec: Conv2dPackBackwardInput, tile: Tile, grid: tuple[int, int, int]) -> Facts:
    weights = spec.weights
    target, ctype = weights.input_gradient(), dtype_tag(weights.dtype)
    before, after = (f"{ctype} [{w.n_oc_blocks}][{w.c}][{w.kh}][{w.kw}][{w.block}]" for w in (weights, target))
    return Facts(
        title=f"{spec.text}  oc{weights.oc} c{weights.c} {weights.kh}x{weights.kw}",
        source="asmgen/cuda/conv/conv2d_pack.py",
        formula=("w_dx[c/V][oc][kh][kw][c%V] = w[oc/V][c][kh][kw][oc%V]",),
        arguments=(
            Argument("a0", "w", before, "in", "lanes are output channels"),
            Argument("a1", "w_dx", after, "out", "lanes are input channels; pad lanes 0"),
        ),
        flops=0,
        bytes_read=weights.oc * weights.c * weights.kh * weights.kw * weights.element_bytes,
        bytes_written=target.bias_offset_bytes,
        tile=f"a block turns {weights.block} output x {weights.block} input channels x {tile.taps} taps",
        loops=(
            f"block ({grid[0]}x oc_block, {grid[1]}x c_block, {grid[2]}x taps), thread ({_THREADS}x)",
            "  load (16 bytes of a tap of an input channel)",
            "  barrier",
            "  store (16 bytes of a tap of an output channel)",
        ),
    )
