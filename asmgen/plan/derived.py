"""Weights that other layouts are derived from after each update: for the forward pass, for dx, for Winograd."""

from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group
from asmgen.plan.layout import ConvWeightsByInput


def forward_weights(draft: Draft, number: int, group: Group) -> str:
    """The weights with lanes = output channels: the parameters themselves, or their copy."""
    layout = draft.parameters[-1].layout
    if not isinstance(layout, ConvWeightsByInput):
        return f"w{number}"
    name = f"wf{number}"
    draft.add(name, layout.by_output(), owned=True)
    pack = specs.Conv2dPackForward(layout)
    draft.entry("derive", pack, (f"w{number}", name), (name,), group.placed.label, "conv2d_pack_fwd")
    return name


def input_gradient_weights(draft: Draft, number: int, group: Group) -> str:
    """The tensor of the weights with lanes = input channels, derived from the parameters."""
    weights, name = draft.convs[number].weights, f"wdx{number}"
    draft.raw(name, weights.input_gradient().bias_offset_bytes, owned=True)
    pack = specs.Conv2dPackInputGradient(weights)
    draft.entry("derive", pack, (f"w{number}", name), (name,), group.placed.label, "conv2d_pack_dx")
    return name


def winograd_weights(draft: Draft, number: int, group: Group, w: str, m: int, *, mirrored: bool) -> str:
    """The tensor of transformed weights, derived from `w`."""
    layout = draft.convs[number].weights
    transform = specs.WinogradWeights(layout.input_gradient() if mirrored else layout, m, mirrored)
    name = f"udx{number}" if mirrored else f"u{number}"
    draft.add(name, transform.u, owned=True)
    draft.entry("derive", transform, (w, name), (name,), group.placed.label, f"winograd{m}_weights")
    return name
