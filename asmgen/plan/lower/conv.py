"""The forward pass of a convolution as entries, with what is fused."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.graph.regions import ConvForward
from asmgen.plan import specs
from asmgen.plan.choice import ConvChoice, image_of_z
from asmgen.plan.draft import Draft
from asmgen.plan.lower.derived import forward_weights, winograd_weights
from asmgen.plan.lower.parameters import add_parameters
from asmgen.plan.lower.pool import codes_tensor, made, pool_forward
from asmgen.plan.specs import Activation, KernelSpec, Pool


def conv_forward(draft: Draft, node: Node) -> None:
    """y = pool(act(conv(x) + b)), in one kernel where it can pool, else in two."""
    region, label = node.op, node.label
    assert isinstance(region, ConvForward)
    choice = draft.convs[label]
    x = input_tensor(draft, choice, region.conv.inputs[0])
    add_parameters(draft, region.conv, choice.weights, stores_gradient=True)
    y = draft.value(_result(region))
    draft.results[label] = y
    w = forward_weights(draft, label)
    codes = codes_tensor(draft, region.pool, y)
    if choice.pool is None or choice.pools_in_epilogue:
        _entry(draft, label, (x, w, y, codes), choice.act, choice.pool)
        return
    z = draft.add(f"{label}.z", image_of_z(choice))
    _entry(draft, label, (x, w, z, None), choice.act, None)
    spec = pool_forward(draft, z, y, choice.pool, codes)
    draft.entry("forward", spec, (z, y, codes), made(y, codes), label)


def input_tensor(draft: Draft, choice: ConvChoice, x: str) -> str:
    """What the convolution reads: its input, or the addresses of the images."""
    return "pixels" if choice.conv.pixels else draft.value(x)


def winograd_fits(pool: Pool | None) -> bool:
    """Whether the output transform can pool, of what an epilogue can: its tiles hold windows of at most 2 x 2."""
    return pool is None or max(pool.ph, pool.pw) <= 2


def _entry(
    draft: Draft, label: str, args: tuple[str, str, str, str | None], act: Activation, pool: Pool | None
) -> None:
    """args: x, w, y, codes; act and pool: what belongs to the kernel's epilogue."""
    conv, (x, w, y, codes) = draft.convs[label].conv, args
    what = conv, draft.images(y), act, pool, codes is not None
    spec: KernelSpec = specs.Conv2dForward(*what)
    m = draft.policy.algorithm(conv, False)
    if m is not None and winograd_fits(pool):
        spec = specs.Conv2dForwardWinograd(*what, m)
        w = winograd_weights(draft, label, w, m, mirrored=False)
    draft.entry("forward", spec, (x, w, y, codes), made(y, codes), label)


def _result(region: ConvForward) -> str:
    """The value that the last op of the region makes."""
    inside = {name for node in region.nodes for name in node.inputs}
    return next(node.outputs[0] for node in region.nodes if node.outputs[0] not in inside)
