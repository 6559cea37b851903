"""The gradients of a convolution as entries: direct, by Winograd, or from live entries."""

from dataclasses import replace

from asmgen.plan import specs
from asmgen.plan.backward_act import act_backward
from asmgen.plan.convolution import dz_halo, gradients, has_sparse_dw
from asmgen.plan.derived import input_gradient_weights, winograd_weights
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group
from asmgen.plan.layout import NO_HALO
from asmgen.plan.specs import KernelSpec


def conv_backward(draft: Draft, number: int, group: Group, x: str, dx: str | None) -> None:
    """Adds the entries of dw, and of dx where a layer below has parameters."""
    match gradients(draft, number, group):
        case "sparse":
            _sparse(draft, number, group, x, dx)
        case "pooled":
            _pooled(draft, number, group, x, dx)
        case "stored":
            _stored(draft, number, group, x, dx)


def _sparse(draft: Draft, number: int, group: Group, x: str, dx: str | None) -> None:
    """Behind a max pool: from the live entries of dy, without a gradient of the convolution's output."""
    conv, pool = draft.convs[number], group.pool
    assert pool is not None
    dy, codes, w, label = f"dy{number}", f"code{number}", f"w{number}", group.placed.label
    if group.act:
        act_backward(draft, number, group, dy)
    images, groups = draft.images(dy), draft.policy.groups(conv)
    if dx is not None:
        has_codes = draft.policy.has_codes(conv, pool)
        live = specs.LiveEntries(conv, images, pool, has_codes)
        entries = f"live{number}"
        draft.raw(entries, conv.x.n * live.list_bytes)
        draft.entry("backward", live, (dy, codes, entries), (entries,), label, "live_entries")
    dw: specs.Conv2dBackwardWeightsSparse | specs.Conv2dBackwardWeightsPooled
    if has_sparse_dw(group, conv.x):
        dw, text = specs.Conv2dBackwardWeightsSparse(conv, images, pool, groups), "conv2d_dw_sparse"
    else:
        dw, text = specs.Conv2dBackwardWeightsPooled(conv, images, pool, groups), "conv2d_dw_pooled"
    _weight_gradient(draft, number, dw, (x, dy, codes), label, text)
    if dx is not None:  # the last: the next layer goes on with its samples
        draft.add(dx, draft.without_halo(x))
        spec = specs.Conv2dBackwardInputSparse(conv, images, draft.images(dx), pool, has_codes)
        draft.entry("backward", spec, (entries, w, dx), (dx,), label, "conv2d_dx_sparse")


def _pooled(draft: Draft, number: int, group: Group, x: str, dx: str | None) -> None:
    """Behind a max pool: from dy and its codes, without a gradient of the convolution's output."""
    conv, pool = draft.convs[number], group.pool
    assert pool is not None
    dy, codes, label = f"dy{number}", f"code{number}", group.placed.label
    if group.act:
        act_backward(draft, number, group, dy)
    if dx is not None:
        w = input_gradient_weights(draft, number, group)
        draft.add(dx, draft.without_halo(x))
        spec = specs.Conv2dBackwardInputPooled(conv, draft.images(dy), draft.images(dx), pool)
        draft.entry("backward", spec, (dy, codes, w, dx), (dx,), label, "conv2d_dx_pooled")
    dw = specs.Conv2dBackwardWeightsPooled(conv, draft.images(dy), pool, draft.policy.groups(conv))
    _weight_gradient(draft, number, dw, (x, dy, codes), label, "conv2d_dw_pooled")


def _stored(draft: Draft, number: int, group: Group, x: str, dx: str | None) -> None:
    """From the gradient of the output of the convolution itself, made from dy, y and the codes."""
    conv, pool = draft.convs[number], group.pool
    dy, dz, label = f"dy{number}", f"dz{number}", group.placed.label
    halo = dz_halo(conv) if dx is not None else NO_HALO
    if group.act or pool or halo:
        draft.add(dz, draft.image((conv.weights.oc, conv.oh, conv.ow), halo))
    if pool and not pool.is_tiling:
        if group.act:
            act_backward(draft, number, group, dy)
        spread = specs.PoolBackward(draft.images(dy), draft.images(dz), pool)
        text = replace(group, act=specs.Activation()).text("d")
        draft.entry("backward", spread, (dy, f"code{number}", dz), (dz,), label, text)
    elif group.act or pool or halo:
        unpool = specs.Conv2dUnpool(draft.images(dy), draft.images(f"y{number}"), draft.images(dz), group.act, pool)
        y = f"y{number}" if group.act and not (pool and pool.kind == "avg") else None
        codes = f"code{number}" if f"code{number}" in draft.tensors else None
        draft.entry("backward", unpool, (dy, y, codes, dz), (dz,), label, group.text("d"))
    else:
        dz = dy
    if dx is not None:
        w, op = input_gradient_weights(draft, number, group), "conv2d_dx"
        draft.add(dx, draft.without_halo(x))
        what = conv, draft.images(dz), draft.images(dx)
        spec: KernelSpec = specs.Conv2dBackwardInput(*what)
        m = draft.policy.algorithm(conv, True)
        if m is not None:
            spec, op = specs.Conv2dBackwardInputWinograd(*what, m), f"conv2d_dx_winograd{m}"
            w = winograd_weights(draft, number, group, w, m, mirrored=True)
        draft.entry("backward", spec, (dz, w, dx), (dx,), label, op)
    dw = specs.Conv2dBackwardWeights(conv, draft.images(dz), draft.policy.groups(conv))
    _weight_gradient(draft, number, dw, (x, dz), label, "conv2d_dw")


def _weight_gradient(
    draft: Draft, number: int, dw: specs.ConvWeightGradient, args: tuple[str, ...], label: str, text: str
) -> None:
    """dw, or parts of it that `sum_parts` adds."""
    target = f"dw{number}"
    if dw.groups > 1:
        target = f"part{number}"
        draft.raw(target, dw.groups * specs.part_stride_bytes(dw.dw))
        draft.partial[number] = dw
    draft.entry("backward", dw, (*args, target), (target,), label, text)


def sum_parts(draft: Draft) -> None:
    """What is summed in parts is added at the end, so that no other entry waits for it."""
    for number, dw in draft.partial.items():
        spec = specs.SumParts.of(dw.dw, dw.groups, bias=dw.conv.bias)
        label = draft.groups[number - 1].placed.label
        draft.entry("backward", spec, (f"part{number}", f"dw{number}"), (f"dw{number}",), label, "sum_parts")
