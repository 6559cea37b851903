"""Dropout: a thread draws for four pixels side by side of a channel (asmgen/ops/dropout.py)."""

from __future__ import annotations

from asmgen.cuda.common.spread import spread
from asmgen.cuda.common.strides import Strides, as_image
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.ops.dropout import BITS, STREAM
from asmgen.plan.specs import Dropout, dtype_tag

SEED_AT, STEP_AT = 16, 24  # bytes in the loss block
_WORDS = 4


def emit(spec: Dropout) -> CudaListing:
    """The listing of y: x, loss block, y (may be x; halo not written)."""
    x, y, symbol = as_image(spec.x), as_image(spec.y), spec.symbol("cuda")
    groups = -(-y.w // _WORDS)
    grid = spread(y.n * y.n_c_blocks * y.h * groups * y.block)
    return listing(
        "elementwise/dropout",
        symbol,
        y.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, groups, grid.loops),
        x=Strides.of(x),
        y=Strides.of(y),
        image=y,
        grid=grid,
        groups=groups,
        seed_at=SEED_AT,
        step_at=STEP_AT,
        stream_number=hex(STREAM + spec.number),
        shift=32 - BITS,
        least=spec.layer.least,
        scale=literal(1 / (1 - spec.p), y.dtype),
    )


def _facts(spec: Dropout, groups: int, loops: tuple[str, ...]) -> Facts:
    ctype = dtype_tag(spec.x.dtype)
    channels = as_image(spec.x).c
    return Facts(
        title=f"{spec.text}  {spec.y}",
        source="asmgen/cuda/elementwise/dropout.py",
        formula=(
            f"y = x / (1 - {spec.p!r}) where u >= {spec.p!r} 2^23, else 0;   u: the upper 23 bits of word w % 4 of",
            f"Philox(seed; (h {groups} + w / 4) {channels} + c, n, 0x{STREAM + spec.number:x}, step)",
        ),
        arguments=(
            Argument("a0", "x", f"{ctype} {spec.x}", "in", "padding zero"),
            Argument("a1", "loss", "loss block: seed (u64) at 16, step (u64) at 24", "in"),
            Argument("a2", "y", f"{ctype} {spec.y}", "out", "may be x; halo not written"),
        ),
        flops=spec.flops(),
        bytes_read=spec.x.size_bytes,
        bytes_written=spec.y.size_bytes,
        tile="a thread draws for 4 pixels of a channel",
        loops=loops,
    )
