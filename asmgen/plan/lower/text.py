"""The plan's words for what is computed together: `conv2d+bias+relu+maxpool2`."""

from __future__ import annotations

from asmgen.plan.specs import Activation, Pool, pool_tag


def fused_text(op: str, act: Activation, pool: Pool | None) -> str:
    """`op` with what is fused; without an op, what is fused alone, or "copy"."""
    words = [op] if op else []
    if act:
        words.append(act.kind)
    if pool:
        words.append(pool_tag(pool).removeprefix("_"))
    return "+".join(words) or "copy"


def gradient_text(act: Activation, pool: Pool | None) -> str:
    """`d(relu+maxpool2)`."""
    return f"d({fused_text('', act, pool)})"
