"""dx = the gradient of a convolution's input as an implicit matrix product: rows are pixels of dx, k taps of dz."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.cuda.common.gemm import misses
from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.common.tile_gemm import Product, Tile, choose_tile
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.plan.specs import Conv2dBackwardInput, dtype_tag


@dataclass(frozen=True)
class Geometry:
    """The constants of the text."""

    dz: Strides
    dx: Strides
    phases: int  # pixels that read the same taps: sh * sw


def product(spec: Conv2dBackwardInput, precision: str) -> Product:
    """The product of all phases together, with the taps of the largest."""
    conv, weights, dx = spec.conv, spec.conv.weights, spec.dx
    phase_taps = -(-weights.kh // conv.sh) * -(-weights.kw // conv.sw)
    return Product(
        windows=dx.n * dx.h * dx.w,
        window=1,
        columns=dx.n_c_blocks * dx.block,
        k=weights.oc * phase_taps,
        k_blocks=spec.dz.n_c_blocks * phase_taps,
        element_bytes=weights.element_bytes,
        precision=precision,
        a_misses=misses(conv),
    )


def emit(spec: Conv2dBackwardInput, precision: str, tile: Tile | None = None) -> CudaListing:
    """dz, w with lanes = input channels, dx; a block sums a tile of pixels of one phase and input channels."""
    conv, dx = spec.conv, spec.dx
    weights = conv.weights.input_gradient()
    shape = product(spec, precision)
    tile = tile or choose_tile(shape)
    check_size(weights.size_bytes // weights.element_bytes)
    geometry = Geometry(Strides.of(spec.dz), Strides.of(dx), conv.sh * conv.sw)
    phase_pixels = dx.n * -(-dx.h // conv.sh) * -(-dx.w // conv.sw)
    tiles = -(-phase_pixels // tile.windows), -(-shape.columns // tile.columns)
    symbol = spec.symbol("cuda")
    grid = (tiles[0] * tiles[1], geometry.phases, 1)
    return listing(
        "conv/conv2d_dx",
        symbol,
        dx.dtype,
        (Launch(symbol, grid, tile.threads, tile.shared_bytes, ("a0", "a1", "a2")),),
        _facts(spec, shape, tile, geometry, tiles),
        spec=spec,
        conv=conv,
        weights=weights,
        tile=tile,
        at=geometry,
        stem=spec.stem(),
    )


def _facts(spec: Conv2dBackwardInput, shape: Product, tile: Tile, at: Geometry, tiles: tuple[int, int]) -> Facts:
    conv, dx, dz, weights = spec.conv, spec.dx, spec.dz, spec.conv.weights
    turned = weights.input_gradient()
    ctype = dtype_tag(dx.dtype)
    taps_bytes = turned.bias_offset_bytes
    steps = -(-shape.k_blocks // tile.stage_k_blocks)
    row = f"(h+{conv.pt}-i)/{conv.sh}" if conv.sh > 1 else f"h+{conv.pt}-i"
    column = f"(w+{conv.pl}-j)/{conv.sw}" if conv.sw > 1 else f"w+{conv.pl}-j"
    layout = f"[{turned.n_oc_blocks}][{turned.c}][{turned.kh}][{turned.kw}][{turned.block}]"
    return Facts(
        title=f"{spec.text}  {dz.c}x{dz.h}x{dz.w} -> {dx.c}x{dx.h}x{dx.w}, batch {dx.n}",
        source="asmgen/cuda/conv/conv2d_dx.py",
        formula=(
            f"dx[n,c,h,w] = sum_o,i,j dz[n, o, {row}, {column}] * w[o,c,i,j]"
            + (" over the taps that divide" if at.phases > 1 else ""),
        ),
        arguments=(
            Argument("a0", "dz", f"{ctype} {dz}", "in"),
            Argument("a1", "w", f"{ctype} {layout}", "in", "lanes are input channels"),
            Argument("a2", "dx", f"{ctype} {dx}", "out", "halo untouched" if dx.halo else ""),
        ),
        flops=spec.flops(),
        bytes_read=dz.size_bytes + taps_bytes,
        bytes_written=dx.n * dx.n_c_blocks * dx.h * dx.w * dx.pixel_bytes,
        tile=str(tile),
        loops=(
            f"block ({tiles[0]}x tiles of {tile.windows} pixels, {tiles[1]}x of {tile.columns} input channels"
            + (f", {at.phases}x phases of the strides)" if at.phases > 1 else ")"),
            f"  step ({steps}x, {tile.stage_k_blocks} of {shape.k_blocks} k blocks: block of output channels, tap)",
        ),
    )
