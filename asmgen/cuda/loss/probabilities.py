"""Rows of z become probabilities: a warp takes a sample, its lanes every 32nd output, and butterflies add up.

softmax subtracts the largest z, so that no exponential overflows.
"""

from __future__ import annotations

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.plan.specs import Probabilities, dtype_tag

_MAX_LONE_WARPS = 1024  # up to here every warp is a block, so that samples spread over all multiprocessors
_WARPS = 4  # of a block, otherwise

_FORMULAS = {
    "softmax": "p[n,k] = e^(z[n,k] - m) / sum_j e^(z[n,j] - m), m = max_j z[n,j]",
    "sigmoid": "p[n,k] = 1 / (1 + e^-z[n,k])",
}


def emit(spec: Probabilities) -> CudaListing:
    """The listing of one shape: z, p (may be z)."""
    z, symbol = spec.z, spec.symbol("cuda")
    check_size(z.size_bytes // z.element_bytes)
    warps = 1 if z.n <= _MAX_LONE_WARPS else _WARPS
    blocks = -(-z.n // warps)
    return listing(
        "loss/probabilities",
        symbol,
        z.dtype,
        (Launch(symbol, (blocks, 1, 1), 32 * warps, 0, ("a0", "a1")),),
        _facts(spec, blocks, warps),
        spec=spec,
        z=z,
        warps=warps,
    )


def _facts(spec: Probabilities, blocks: int, warps: int) -> Facts:
    z, ctype = spec.z, dtype_tag(spec.z.dtype)
    return Facts(
        title=f"{spec.text}  {z.n} x {z.features}",
        source="asmgen/cuda/loss/probabilities.py",
        formula=(_FORMULAS[spec.kind],),
        arguments=(
            Argument("a0", "z", f"{ctype} {z}", "in", "padding zero"),
            Argument("a1", "p", f"{ctype} {z}", "out", "may be z; overwritten, padding zero"),
        ),
        flops=spec.flops(),
        bytes_read=z.size_bytes,
        bytes_written=z.size_bytes,
        tile="a warp takes a sample, a lane every 32nd of its outputs",
        loops=(f"block ({blocks}x), warp ({warps}x, a sample)", f"  position ({-(-z.stride // 32)}x, in steps of 32)"),
    )
