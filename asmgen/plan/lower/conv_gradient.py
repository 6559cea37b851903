"""The gradients of a convolution as entries: direct, by Winograd, or from live entries."""

from __future__ import annotations

from asmgen.graph.graph import Node
from asmgen.graph.regions import ConvGradient
from asmgen.plan import specs
from asmgen.plan.choice import ConvChoice
from asmgen.plan.draft import Draft
from asmgen.plan.layout import NO_HALO
from asmgen.plan.lower.conv import input_tensor
from asmgen.plan.lower.derived import input_gradient_weights, winograd_weights
from asmgen.plan.lower.elementwise import fused_gradient, times_slope
from asmgen.plan.lower.sum_parts import weight_gradient
from asmgen.plan.specs import Activation, KernelSpec


def conv_gradient(draft: Draft, node: Node) -> None:
    """dw, and dx where one is wanted."""
    region = node.op
    assert isinstance(region, ConvGradient)
    {"sparse": _sparse, "pooled": _pooled, "stored": _stored}[draft.convs[node.label].gradients](draft, node, region)


def _dy(draft: Draft, region: ConvGradient) -> str:
    """The gradient that comes in, before anything of the region."""
    inside = {name for node in region.nodes for name in node.outputs}
    first = next(node for node in region.nodes if node.inputs[0] not in inside or node is region.dw)
    value = first.inputs[1] if first is region.dw else first.inputs[0]
    return draft.value(value)


def _codes(draft: Draft, region: ConvGradient) -> str | None:
    """The tensor of codes that the pool's gradient reads."""
    pool = region.pool
    return pool.inputs[1] if pool is not None and len(pool.inputs) > 1 else None


def _after_activation(draft: Draft, node: Node, region: ConvGradient) -> str:
    """The gradient behind the activation's, which works on the pooled values."""
    return fused_gradient(draft, region.act, node) if region.act is not None else _dy(draft, region)


def _sparse(draft: Draft, node: Node, region: ConvGradient) -> None:
    """Behind a max pool: from the live entries of dy, without a gradient of the convolution's output."""
    label, choice = node.label, draft.convs[node.label]
    conv, pool = choice.conv, choice.pool
    assert pool is not None
    dy, codes = _after_activation(draft, node, region), _codes(draft, region)
    images, sample_parts = draft.images(dy), draft.policy.sample_parts(conv)
    entries, has_codes = f"{label}.live", False
    if region.dx is not None:
        has_codes = draft.policy.has_codes(conv, pool)
        live = specs.LiveEntries(conv, images, pool, has_codes)
        draft.raw(entries, conv.x.n * live.list_bytes)
        draft.entry("backward", live, (dy, codes, entries), (entries,), label)
    x = input_tensor(draft, choice, region.dw.inputs[0])
    dw: specs.Conv2dBackwardWeightsSparse | specs.Conv2dBackwardWeightsPooled
    if conv.x.block > 1:
        dw = specs.Conv2dBackwardWeightsSparse(conv, images, pool, sample_parts)
    else:
        dw = specs.Conv2dBackwardWeightsPooled(conv, images, pool, sample_parts)
    weight_gradient(draft, label, dw, (x, dy, codes))
    if region.dx is not None:  # the last: the next layer goes on with its samples
        dx = draft.value(region.dx.outputs[0])
        spec = specs.Conv2dBackwardInputSparse(conv, images, draft.images(dx), pool, has_codes)
        w = draft.parameters[label].name
        draft.entry("backward", spec, (entries, w, dx), (dx,), label)


def _pooled(draft: Draft, node: Node, region: ConvGradient) -> None:
    """Behind a max pool: from dy and its codes, without a gradient of the convolution's output."""
    label, choice = node.label, draft.convs[node.label]
    conv, pool = choice.conv, choice.pool
    assert pool is not None
    dy, codes = _after_activation(draft, node, region), _codes(draft, region)
    if region.dx is not None:
        w = input_gradient_weights(draft, label)
        dx = draft.value(region.dx.outputs[0])
        spec = specs.Conv2dBackwardInputPooled(conv, draft.images(dy), draft.images(dx), pool)
        draft.entry("backward", spec, (dy, codes, w, dx), (dx,), label)
    dw = specs.Conv2dBackwardWeightsPooled(conv, draft.images(dy), pool, draft.policy.sample_parts(conv))
    x = input_tensor(draft, choice, region.dw.inputs[0])
    weight_gradient(draft, label, dw, (x, dy, codes))


def _stored(draft: Draft, node: Node, region: ConvGradient) -> None:
    """From the gradient of the output of the convolution itself, made from dy, y and the codes."""
    label, choice = node.label, draft.convs[node.label]
    conv = choice.conv
    dz = _dz(draft, node, region, choice)
    if region.dx is not None:
        w = input_gradient_weights(draft, label)
        dx = draft.value(region.dx.outputs[0])
        what = conv, draft.images(dz), draft.images(dx)
        spec: KernelSpec = specs.Conv2dBackwardInput(*what)
        m = draft.policy.algorithm(conv, True)
        if m is not None:
            spec = specs.Conv2dBackwardInputWinograd(*what, m)
            w = winograd_weights(draft, label, w, m, mirrored=True)
        draft.entry("backward", spec, (dz, w, dx), (dx,), label)
    dw = specs.Conv2dBackwardWeights(conv, draft.images(dz), draft.policy.sample_parts(conv))
    x = input_tensor(draft, choice, region.dw.inputs[0])
    weight_gradient(draft, label, dw, (x, dz))


def _dz(draft: Draft, node: Node, region: ConvGradient, choice: ConvChoice) -> str:
    """The tensor of dz, with the halo that dx wants: dy itself where nothing is fused and no halo is wanted."""
    label, conv, act, pool = node.label, choice.conv, choice.act, choice.pool
    halo = conv.dz_halo() if region.dx is not None else NO_HALO
    dy, codes = _dy(draft, region), _codes(draft, region)
    if not (act or pool or halo):
        return dy
    is_wide = not act.traits.is_gate  # Conv2dUnpool tells slopes by the sign of y alone
    if is_wide and not (pool or halo):
        return _after_activation(draft, node, region)
    dz = draft.add(f"d_{label}.z", draft.image((conv.weights.oc, conv.oh, conv.ow), halo))
    if is_wide and not pool:
        assert region.act is not None
        times_slope(draft, region.act, dz, label)
        return dz
    if pool and (is_wide or not pool.is_tiling):
        dy, act = _after_activation(draft, node, region), Activation()
    if pool and not pool.is_tiling:
        spread = specs.PoolBackward(draft.images(dy), draft.images(dz), pool)
        draft.entry("backward", spread, (dy, codes, dz), (dz,), label)
        return dz
    y = region.act.inputs[1] if act and region.act is not None else None
    unpool = specs.Conv2dUnpool(draft.images(dy), draft.images(draft.results[label]), draft.images(dz), act, pool)
    draft.entry("backward", unpool, (dy, y, codes, dz), (dz,), label)
    return dz
