"""The optimizer: where parameters and their states lie together, and the steps over them."""

from asmgen.model.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.plan import specs
from asmgen.plan.arena import Region
from asmgen.plan.draft import Draft
from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES, round_up

_UPDATE_KINDS = {SGD: "sgd", Momentum: "momentum", Nesterov: "nesterov", Adam: "adam", AdamW: "adamw"}

#: Behind the parameters of dense layers and behind each of their states, so that equal elements lie in other L1 sets.
_DENSE_GAP_BYTES = 21 * LINE_BYTES


def parameter_regions(draft: Draft) -> list[Region]:
    """Parameters and gradients for one update; those that dense layers update: with their states."""
    found = []
    stored = [parameters for parameters in draft.parameters if parameters.stores_gradient]
    if stored:
        found.append(Region("params", tuple(draft.tensors[parameters.name] for parameters in stored)))
        found.append(Region("grads", tuple(draft.tensors[parameters.gradient] for parameters in stored)))
    for region in found:
        draft.raw(region.name, region.size_bytes, owned=True)
    fused = [parameters.group for parameters in draft.parameters if not parameters.stores_gradient]
    for name in ("w", *_state_names(draft)) if fused else ():
        parts = tuple(draft.tensors[f"{name}{number}"] for number in fused)
        found.append(Region(f"dense_{name}", parts, _DENSE_GAP_BYTES))
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


def _state_names(draft: Draft) -> tuple[str, ...]:
    """As the optimizer's formula calls its states."""
    return ((), ("v",), ("m", "v"))[optimizer_step(draft, 0).n_states]


def dense_states(draft: Draft, number: int) -> tuple[str, ...]:
    """The states of a dense layer's parameters."""
    return tuple(f"{name}{number}" for name in _state_names(draft))


def dense_state_bytes(draft: Draft, n_states: int) -> tuple[int, ...]:
    """From a dense layer's parameters to each of their states."""
    blocks = (block.layout.size_bytes for block in draft.parameters if not block.stores_gradient)
    distance = sum(round_up(size, LINE_BYTES) for size in blocks) + _DENSE_GAP_BYTES
    return tuple(state * distance for state in range(1, n_states + 1))


def update(draft: Draft) -> None:
    """The step of all parameters whose gradients are stored."""
    if "params" in draft.tensors:
        params_bytes = draft.tensors["params"].size_bytes
        spec = optimizer_step(draft, params_bytes)
        state = "state" if spec.n_states else None
        if state:
            draft.raw(state, spec.n_states * params_bytes, owned=True)
        outputs = ("params", state) if state else ("params",)
        draft.entry("update", spec, ("params", "grads", state, "hyper"), outputs, "optimizer", spec.kind, outputs)
