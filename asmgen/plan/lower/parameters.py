"""Where parameters, gradients and the optimizer's states lie."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.ops.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.plan import specs
from asmgen.plan.arena import Block
from asmgen.plan.draft import Draft
from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES, round_up
from asmgen.plan.plan import LayerParameters, Weights

_UPDATE_KINDS = {SGD: "sgd", Momentum: "momentum", Nesterov: "nesterov", Adam: "adam", AdamW: "adamw"}

#: Behind the parameters of dense layers and behind each of their states, so that equal elements lie in other L1 sets.
_DENSE_GAP_BYTES = 21 * LINE_BYTES


def add_parameters(draft: Draft, node: Node, layout: Weights, *, stores_gradient: bool) -> LayerParameters:
    """The parameter block of a layer, with its gradient, or with the optimizer's states where its step is fused."""
    if node.label in draft.parameters:
        if draft.parameters[node.label].layout != layout:
            raise ValueError(f"{node.label}: {draft.program} wants other weights than the training step has")
        return draft.parameters[node.label]
    known = {parameter.name: parameter for parameter in draft.graph.parameters}
    mine = {name.rpartition(".")[2]: known[name] for name in node.inputs if name in known}
    block = LayerParameters(node.label, layout, mine.get("weight"), mine.get("bias"), stores_gradient)
    draft.parameters[node.label] = block
    draft.add(block.name, layout, owned=True)
    for name in (block.gradient,) if stores_gradient else state_tensors(draft, node.label):
        draft.add(name, layout, owned=True)
    return block


def parameter_blocks(draft: Draft) -> list[Block]:
    """Parameters and gradients for one update; those whose steps are fused: with their states."""
    found = []
    stored = [block for block in draft.parameters.values() if block.stores_gradient]
    if stored:
        found.append(Block("params", tuple(draft.tensors[block.name] for block in stored)))
        found.append(Block("grads", tuple(draft.tensors[block.gradient] for block in stored)))
    for whole in found:
        draft.raw(whole.name, whole.size_bytes, owned=True)
        draft.parts[whole.name] = tuple(part.name for part in whole.parts)
    fused = [block for block in draft.parameters.values() if not block.stores_gradient]
    for kind in ("w", *draft.model.optimizer.states) if fused else ():
        parts = tuple(draft.tensors[f"{block.label}.{kind}"] for block in fused)
        found.append(Block(f"dense_{kind}", parts, _DENSE_GAP_BYTES))
    return found


def optimizer_step(draft: Draft, size_bytes: int) -> specs.Update:
    """The optimizer's step over parameters of this size."""
    optimizer = draft.model.optimizer
    return specs.Update(
        kind=_UPDATE_KINDS[type(optimizer)],
        dtype=draft.dtype,
        block=draft.lanes,
        n_vectors=size_bytes // (draft.lanes * ELEMENT_BYTES[draft.dtype]),
        momentum=optimizer.momentum if isinstance(optimizer, Momentum) else 0.0,
        beta1=optimizer.beta1 if isinstance(optimizer, Adam) else 0.0,
        beta2=optimizer.beta2 if isinstance(optimizer, Adam) else 0.0,
        eps=optimizer.eps if isinstance(optimizer, Adam) else 0.0,
        weight_decay=optimizer.weight_decay,
    )


def state_tensors(draft: Draft, label: str) -> tuple[str, ...]:
    """The states of the parameters of a dense layer whose step is fused."""
    return tuple(f"{label}.{state}" for state in draft.model.optimizer.states)


def dense_state_bytes(draft: Draft, n_states: int) -> tuple[int, ...]:
    """From a dense layer's parameters to each of their states."""
    blocks = (block.layout.size_bytes for block in draft.parameters.values() if not block.stores_gradient)
    distance = sum(round_up(size, LINE_BYTES) for size in blocks) + _DENSE_GAP_BYTES
    return tuple(state * distance for state in range(1, n_states + 1))
