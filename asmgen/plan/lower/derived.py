"""Weights that other layouts are derived from after each update: for the forward pass, for dx, for Winograd."""

from __future__ import annotations

from asmgen.graph.differentiate import next_name
from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.layout import ConvWeightsByInput


def forward_weights(draft: Draft, label: str) -> str:
    """The weights with lanes = output channels: the parameters themselves, or their copy."""
    block = draft.parameters[label]
    if not isinstance(block.layout, ConvWeightsByInput):
        return block.name
    name, layout = f"{label}.w_fwd", block.layout.by_output()
    if name in draft.tensors:
        return name
    draft.add(name, layout, owned=True)
    _derive(draft, specs.Conv2dPackForward(block.layout), block.name, name, label)
    return name


def input_gradient_weights(draft: Draft, label: str) -> str:
    """The tensor of the weights with lanes = input channels, derived from the parameters."""
    weights = draft.convs[label].conv.weights
    name = draft.raw(f"{label}.w_dx", weights.input_gradient().bias_offset_bytes, owned=True)
    pack = specs.Conv2dPackBackwardInput(weights)
    _derive(draft, pack, draft.parameters[label].name, name, label)
    return name


def winograd_weights(draft: Draft, label: str, w: str, m: int, *, mirrored: bool) -> str:
    """The tensor of transformed weights, derived from `w`."""
    layout = draft.convs[label].conv.weights
    transform = specs.WinogradWeights(layout.input_gradient() if mirrored else layout, m, mirrored)
    name = f"{label}.u_dx" if mirrored else f"{label}.u"
    if name in draft.tensors and draft.tensors[name].layout == transform.u:
        return name
    name = draft.add(name, transform.u, owned=True)
    _derive(draft, transform, w, name, label)
    return name


def _derive(draft: Draft, spec: specs.KernelSpec, source: str, target: str, label: str) -> None:
    """What the next step reads, from what the next step begins with."""
    after = draft.next(target)
    draft.entry("derive", spec, (next_name(source), after), (after,), label)
