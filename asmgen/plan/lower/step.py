"""The optimizer's step of all parameters whose gradients are stored, as one entry."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.plan.draft import Draft
from asmgen.plan.lower.parameters import optimizer_step


def step(draft: Draft, node: Node) -> None:
    """params and state, in place. It stands behind the whole backward pass (asmgen/plan/build.py)."""
    params_bytes = draft.tensors["params"].size_bytes
    spec = optimizer_step(draft, params_bytes)
    state = draft.raw("state", spec.n_states * params_bytes, owned=True) if spec.n_states else None
    olds = ("params", state) if state else ("params",)
    parts = draft.parts["params"]
    outputs = tuple(draft.next(name) for name in olds)
    draft.parts[outputs[0]] = tuple(draft.next(part) for part in parts)
    draft.entry("update", spec, ("params", "grads", state, "hyper"), outputs, "optimizer")
