"""dx of a convolution behind a max pool as an implicit matrix product: rows are pixels of dx, k taps of dz.

dz is never stored. A block of pixels is a rectangle; for each block of output channels, the pooled gradient and codes
of all windows that it reads come into shared memory, become a patch of dz there, and serve every tap.
"""

from __future__ import annotations

from asmgen.cuda.common.strides import Strides, check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.cuda.sparse import expand
from asmgen.cuda.sparse.tile_patch import Patch, choose_patch
from asmgen.plan.specs import Conv2dBackwardInputPooled, dtype_tag
from asmgen.plan.specs.base import require


def emit(spec: Conv2dBackwardInputPooled, precision: str, patch: Patch | None = None) -> CudaListing:
    """dy, codes, w with lanes = input channels, dx. Raises ValueError where no patch can be (choose_patch)."""
    conv, dx = spec.conv, spec.dx
    weights = conv.weights.input_gradient()
    patch = patch or choose_patch(spec, precision)
    require(patch is not None, spec, "no patch fits: strides, or a kernel too large")
    assert patch is not None
    tile, symbol = patch.tile, spec.symbol("cuda")
    check_size(weights.size_bytes // weights.element_bytes)
    tiles = dx.n, -(-dx.h // patch.tile_h), -(-dx.w // patch.tile_w), -(-dx.n_c_blocks * dx.block // tile.columns)
    grid = (tiles[0] * tiles[1] * tiles[2] * tiles[3], 1, 1)
    return listing(
        "sparse/conv2d_dx_pooled",
        symbol,
        dx.dtype,
        (Launch(symbol, grid, tile.threads, patch.shared_bytes, ("a0", "a1", "a2", "a3")),),
        _facts(spec, patch, tiles),
        spec=spec,
        conv=conv,
        weights=weights,
        patch=patch,
        tile=tile,
        dx=Strides.of(dx),
        expansion=expand.Expansion.of(spec.dy, spec.pool),
        stem=spec.stem(),
    )


def _facts(spec: Conv2dBackwardInputPooled, patch: Patch, tiles: tuple[int, int, int, int]) -> Facts:
    conv, dx, weights, tile = spec.conv, spec.dx, spec.conv.weights, patch.tile
    turned = weights.input_gradient()
    ctype = dtype_tag(dx.dtype)
    layout = f"[{turned.n_oc_blocks}][{turned.c}][{turned.kh}][{turned.kw}][{turned.block}]"
    return Facts(
        title=f"{spec.text}  {weights.oc}x{conv.oh}x{conv.ow} -> {dx.c}x{dx.h}x{dx.w}, batch {dx.n}",
        source="asmgen/cuda/sparse/conv2d_dx_pooled.py",
        formula=(
            f"dx[n,c,h,w] = sum_o,i,j dz[n, o, h+{conv.pt}-i, w+{conv.pl}-j] * w[o,c,i,j]",
            expand.formula(spec.pool),
        ),
        arguments=(
            *expand.arguments(spec.dy, 0),
            Argument("a2", "w", f"{ctype} {layout}", "in", "lanes are input channels"),
            Argument("a3", "dx", f"{ctype} {dx}", "out", "halo untouched" if dx.halo else ""),
        ),
        flops=spec.flops(),
        bytes_read=expand.bytes_read(spec.dy) + turned.bias_offset_bytes,
        bytes_written=dx.n * dx.n_c_blocks * dx.h * dx.w * dx.pixel_bytes,
        tile=str(patch),
        loops=(
            f"block ({tiles[0]}x samples, {tiles[1]}x{tiles[2]} rectangles of {patch.tile_h} x {patch.tile_w} pixels, "
            f"{tiles[3]}x {tile.columns} input channels)",
            f"  block of output channels ({weights.n_oc_blocks}x): a patch of {patch.h} x {patch.w} pixels of dz",
            f"    row of taps ({weights.kh}x, {weights.kw} k blocks)",
        ),
    )
