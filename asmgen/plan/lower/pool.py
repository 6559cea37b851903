"""Entries of pools that are kernels of their own."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.pool import AvgPoolGradient, MaxPoolGradient
from asmgen.plan import specs
from asmgen.plan.choice import as_spec, pool_spec
from asmgen.plan.draft import Draft
from asmgen.plan.specs import Pool


def pool(draft: Draft, node: Node) -> None:
    """y, and the codes of a max pool where a gradient reads them."""
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    what = pool_spec(node)
    assert what is not None
    codes = codes_tensor(draft, node, y)
    spec = pool_forward(draft, x, y, what, codes)
    draft.entry("forward", spec, (x, y, codes), made(y, codes), node.label)


def pool_forward(draft: Draft, x: str, y: str, what: Pool, codes: str | None) -> specs.PoolForward:
    """The kernel from x to y, with codes where they have a tensor."""
    return specs.PoolForward(draft.images(x), draft.images(y), what, codes=what.kind == "avg" or codes is not None)


def pool_gradient(draft: Draft, node: Node) -> None:
    """dx from dy and the codes."""
    assert isinstance(node.op, MaxPoolGradient | AvgPoolGradient)
    dy, dx = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    codes = node.inputs[1] if isinstance(node.op, MaxPoolGradient) else None
    what = pool_of_gradient(node)
    spec = specs.PoolBackward(draft.images(dy), draft.images(dx), what)
    draft.entry("backward", spec, (dy, codes, dx), (dx,), node.label)


def global_avg_pool(draft: Draft, node: Node) -> None:
    """The mean over all pixels."""
    x, y = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    spec = specs.GlobalAvgPoolForward(draft.images(x), draft.as_rows(y))
    draft.entry("forward", spec, (x, y), (y,), node.label)


def global_avg_pool_gradient(draft: Draft, node: Node) -> None:
    """dy to every pixel."""
    dy, dx = draft.value(node.inputs[0]), draft.value(node.outputs[0])
    spec = specs.GlobalAvgPoolBackward(draft.as_rows(dy), draft.images(dx))
    draft.entry("backward", spec, (dy, dx), (dx,), node.label)


def pool_of_gradient(node: Node) -> Pool:
    """The pool whose gradient a node is."""
    assert isinstance(node.op, MaxPoolGradient | AvgPoolGradient)
    return as_spec(node.op.of)


def codes_tensor(draft: Draft, node: Node | None, y: str) -> str | None:
    """The tensor of a pool's codes, in the order of y; None where nothing reads them."""
    if node is None or len(node.outputs) < 2 or not draft.graph.consumers(node.outputs[1]):
        return None
    layout = draft.images(y)
    return draft.raw(node.outputs[1], layout.n * layout.n_c_blocks * layout.h * layout.w * layout.block)


def made(y: str, codes: str | None) -> tuple[str, ...]:
    """The outputs of a pooling kernel."""
    return (y, codes) if codes else (y,)
