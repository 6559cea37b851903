"""The losses: a warp takes a sample, its lanes every 32nd output, and butterflies add up.

Softmax and cross entropy subtract the largest z, so that no exponential overflows. Binary cross entropy turns the sign
of z where the target is 1: with t so obtained, loss = log(1 + e^t) and its slope is sigmoid(t), without cancellation.
"""

from __future__ import annotations

from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.loss.loss_code import code_of
from asmgen.cuda.render import listing
from asmgen.plan.specs import Loss, dtype_tag

_MAX_LONE_WARPS = 1024  # up to here every warp is a block, so that samples spread over all multiprocessors
_WARPS = 4  # of a block, otherwise
INV_COUNT_AT, PRESENT_AT = 0, 8  # bytes in the loss block

_FORMULAS = {
    "softmax_ce": (
        "loss[n] = log(sum_j e^(z[n,j] - m)) - (z[n,label] - m), m = max_j z[n,j]; pred[n] = first j with z[n,j] = m",
        "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) - (k == label)) * inv_count",
    ),
    "bce": (
        "t = -z where the target is 1, z elsewhere",
        "loss[n] = mean_k log(1 + e^t[n,k]) (= max(z,0) - z*y + log1p(e^-|z|))",
        "dz[n,k] = +-sigmoid(t[n,k]) * inv_count / outputs (= (sigmoid(z) - y) * inv_count / outputs)",
    ),
    "mse": (
        "loss[n] = mean_k (z[n,k] - y[n,k])^2, y = (k == label), or label for a single output",
        "dz[n,k] = 2 (z[n,k] - y[n,k]) * inv_count / outputs",
    ),
    "mae": (
        "loss[n] = mean_k |z[n,k] - y[n,k]|, y = (k == label), or label for a single output",
        "dz[n,k] = sign(z[n,k] - y[n,k]) * inv_count / outputs; sign(0) = 0",
    ),
    "huber": (
        "loss[n] = mean_k c (d - c / 2), d = z[n,k] - y[n,k], y = (k == label), or label for a single output",
        "c = d clamped to +-delta: d^2 / 2 up to there, delta (|d| - delta / 2) beyond",
        "dz[n,k] = c * inv_count / outputs",
    ),
}


_OF_TARGETS = (
    "loss[n] = log(sum_j e^(z[n,j] - m)) - sum_k q[n,k] (z[n,k] - m), m = max_j z[n,j]",
    "pred[n] = first j with z[n,j] = m",
    "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) - q[n,k]) * inv_count",
)

_OF_WEIGHTS = (
    "loss[n] = (Q log(sum_j e^(z[n,j] - m)) - sum_k q[n,k] (z[n,k] - m)) * present / W, m = max_j z[n,j]",
    "Q = sum_k q[n,k]; W = sum of w[label] over the samples present",
    "pred[n] = first j with z[n,j] = m",
    "dz[n,k] = (e^(z[n,k] - m) / sum_j e^(z[n,j] - m) Q - q[n,k]) / W",
)


def _formula(spec: Loss) -> tuple[str, ...]:
    if spec.class_weights:
        return (spec.targets_text, *_OF_WEIGHTS)
    return (spec.targets_text, *_OF_TARGETS) if spec.label_smoothing else _FORMULAS[spec.kind]


def emit(spec: Loss) -> CudaListing:
    """The listing of one shape: z, labels, dz (if any), loss block."""
    z, symbol = spec.z, spec.symbol("cuda")
    arguments = ("a0", "a1", "a2", "a3") if spec.gradient else ("a0", "a1", "a3")
    check_size(z.size_bytes // z.element_bytes)
    warps = 1 if z.n <= _MAX_LONE_WARPS else _WARPS
    blocks = -(-z.n // warps)
    return listing(
        "loss/loss",
        symbol,
        z.dtype,
        (Launch(symbol, (blocks, 1, 1), 32 * warps, 0, arguments),),
        _facts(spec, blocks, warps),
        spec=spec,
        z=z,
        warps=warps,
        present_at=PRESENT_AT,
        code=code_of(spec),
    )


def _facts(spec: Loss, blocks: int, warps: int) -> Facts:
    z, ctype = spec.z, dtype_tag(spec.z.dtype)
    block = f"inv_count, present; {ctype} losses[{z.n}]; u32 preds[{z.n}]"
    dz = Argument("a2", "dz", f"{ctype} {z}", "out", "overwritten, padding zero")
    return Facts(
        title=f"{spec.text}  {z.n} x {z.features}",
        source="asmgen/cuda/loss/loss.py",
        formula=tuple(line for line in _formula(spec) if spec.gradient or not line.startswith("dz")),
        arguments=(
            Argument("a0", "z", f"{ctype} {z}", "in", "padding zero"),
            Argument("a1", "labels", f"u32 [{z.n}]", "in", "of samples n < present"),
            *([dz] if spec.gradient else []),
            Argument("a3", "block", f"loss block: {block}", "in/out"),
        ),
        flops=spec.flops(),
        bytes_read=z.size_bytes + 4 * z.n,
        bytes_written=(z.size_bytes if spec.gradient else 0) + (z.element_bytes + 4) * z.n,
        tile="a warp takes a sample, a lane every 32nd of its outputs",
        loops=(f"block ({blocks}x), warp ({warps}x, a sample)", f"  position ({-(-z.stride // 32)}x, in steps of 32)"),
        notes=(
            f"loss block: inv_count at {INV_COUNT_AT}, present (u32) at {PRESENT_AT}, losses at "
            f"{spec.losses_offset_bytes}, preds at {spec.preds_offset_bytes}",
            f"samples n >= present: {'dz = 0, ' if spec.gradient else ''}loss 0, pred 0",
        ),
    )
