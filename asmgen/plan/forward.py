"""Layouts of every group, and the forward pass as entries."""

from dataclasses import replace

from asmgen.model.layers import Dense
from asmgen.model.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.model.params import layer_parameters
from asmgen.plan import specs
from asmgen.plan.convolution import conv_halo, conv_of, gradients, has_sparse_dw, winograd_fits
from asmgen.plan.derived import forward_weights, winograd_weights
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group
from asmgen.plan.layout import (
    ELEMENT_BYTES,
    LINE_BYTES,
    NO_HALO,
    Activations,
    DenseWeights,
    DenseWeightsByOutput,
    Halo,
    Image,
    round_up,
)
from asmgen.plan.plan import LayerParameters, Weights
from asmgen.plan.specs import KernelSpec
from asmgen.plan.update import dense_states

_LOSS_KINDS = {SoftmaxCrossEntropy: "softmax_ce", BinaryCrossEntropy: "bce", MeanSquaredError: "mse"}


def forward(draft: Draft) -> None:
    """Adds what every step has, and the entries from the images to the loss and its gradient."""
    _io_tensors(draft)
    _load_input(draft)
    for number, group in enumerate(draft.groups, start=1):
        x, y = f"y{number - 1}" if number > 1 else draft.input, f"y{number}"
        halo = _halo_wanted(draft, number)
        match group.kind:
            case "conv":
                _conv_forward(draft, number, group, x, y, halo)
            case "dense":
                _dense_forward(draft, number, group, x, y)
            case "pool":
                assert group.pool is not None
                draft.add(y, draft.image(group.out_shape, halo))
                codes = _codes(draft, number, group)
                spec = specs.PoolForward(draft.images(x), draft.images(y), group.pool)
                outputs = (y, codes) if codes else (y,)
                draft.entry("forward", spec, (x, y, codes), outputs, group.placed.label, group.text(""))
            case "act":
                source = draft.layout(x)
                # Behind a Flatten the activation still works on the image: the view changes nothing.
                shape = (source.c, source.h, source.w) if isinstance(source, Image) else group.out_shape
                target = draft.image(shape, halo) if isinstance(source, Image) else source
                draft.add(y, target)
                act_spec = specs.ActForward(source, target, group.act)
                draft.entry("forward", act_spec, (x, y), (y,), group.placed.label, group.text(""))
    z = f"y{len(draft.groups)}"
    loss = specs.Loss(_LOSS_KINDS[type(draft.model.loss)], draft.as_rows(z))
    draft.add(f"d{z}", draft.layout(z))
    draft.entry("forward", loss, (z, "labels", f"d{z}", "loss"), (f"d{z}", "loss"), "loss", loss.kind)


def _io_tensors(draft: Draft) -> None:
    """What the trainer hands to a step and reads from it."""
    element_bytes = ELEMENT_BYTES[draft.dtype]
    draft.raw("indices", 4 * draft.batch, owned=True)
    draft.raw("pixels", 8 * draft.batch, owned=True)
    draft.raw("labels", 4 * draft.batch, owned=True)
    draft.raw("loss", LINE_BYTES + round_up(element_bytes * draft.batch, LINE_BYTES) + 4 * draft.batch, owned=True)
    draft.raw("hyper", 3 * element_bytes, owned=True)


def _load_input(draft: Draft) -> None:
    """The input as numbers, unless the first layer reads the pixels itself.

    A dense layer does not: forward and the weight gradient would convert them for every group of outputs again.
    """
    c, h, w = draft.model.input
    first = draft.groups[0]
    scale, shift = zip(*draft.model.data.affine(c), strict=True)
    dst: Activations
    if first.kind == "conv":
        dst = Image(draft.batch, c, h, w, 1, draft.dtype, conv_halo(first))
        conv = replace(conv_of(first, dst, draft.lanes), pixels=specs.Pixels(scale, shift))
        if draft.policy.reads_pixels(conv, first.pool):
            draft.input, draft.convs[1] = "pixels", conv
            return
    else:
        dst = draft.rows((c * h * w,))
    draft.add("x0", dst)
    spec = specs.LoadInput(c, h, w, dst, scale, shift)
    draft.entry("forward", spec, ("images", "indices", "x0"), ("x0",), "input", "load_input")


def _halo_wanted(draft: Draft, number: int) -> Halo:
    """The halo that the group after `number` needs around its input."""
    if number < len(draft.groups) and draft.groups[number].kind == "conv":
        return conv_halo(draft.groups[number])
    return NO_HALO


def _codes(draft: Draft, number: int, group: Group) -> str | None:
    """The tensor of argmax codes or live bits that the group's backward pass needs, if any."""
    pool = group.pool
    if pool is None or (pool.kind == "avg" and not group.act):
        return None
    y = draft.layout(f"y{number}")
    assert isinstance(y, Image)
    name = f"code{number}"
    draft.raw(name, y.n * y.n_c_blocks * y.h * y.w * y.block)
    return name


def _conv_forward(draft: Draft, number: int, group: Group, x: str, y: str, halo: Halo) -> None:
    if number not in draft.convs:
        draft.convs[number] = conv_of(group, draft.images(x), draft.lanes)
    conv = draft.convs[number]
    weights = conv.weights
    by_input = gradients(draft, number, group) == "sparse" and has_sparse_dw(group, conv.x)
    _parameters(draft, number, group, weights.by_input() if by_input else weights)
    draft.add(y, draft.image(group.out_shape, halo))
    codes = _codes(draft, number, group)
    w = forward_weights(draft, number, group)
    if group.pool is None or group.pools_in_epilogue:
        _conv_entry(draft, number, group, (x, w, y, codes))
        return
    z, label = f"z{number}", group.placed.label
    draft.add(z, draft.image((conv.weights.oc, conv.oh, conv.ow)))
    _conv_entry(draft, number, replace(group, pool=None), (x, w, z, None))
    spec = specs.PoolForward(draft.images(z), draft.images(y), group.pool)
    text = replace(group, act=specs.Activation()).text("")
    draft.entry("forward", spec, (z, y, codes), (y, codes) if codes else (y,), label, text)


def _conv_entry(draft: Draft, number: int, group: Group, args: tuple[str, str, str, str | None]) -> None:
    """args: x, w, y, codes. The group: with what belongs to the kernel's epilogue."""
    conv, (x, w, y, codes) = draft.convs[number], args
    what = conv, draft.images(y), group.act, group.pool, codes is not None
    spec: KernelSpec = specs.Conv2dForward(*what)
    op = "conv2d"
    m = draft.policy.algorithm(conv, False)
    if m is not None and winograd_fits(group.pool):
        spec, op = specs.Conv2dForwardWinograd(*what, m), f"conv2d_winograd{m}"
        w = winograd_weights(draft, number, group, w, m, mirrored=False)
    text = group.text(op + ("+bias" if conv.bias else ""))
    draft.entry("forward", spec, (x, w, y, codes), (y, codes) if codes else (y,), group.placed.label, text)


def _dense_forward(draft: Draft, number: int, group: Group, x: str, y: str) -> None:
    layer = group.placed.layer
    assert isinstance(layer, Dense)
    source = draft.as_rows(x)
    by_input = DenseWeights(layer.units, source, draft.lanes, draft.dtype)
    target = draft.rows(group.out_shape)
    draft.add(y, target)
    plain = specs.DenseForward(source, by_input, target, layer.bias, group.act)
    lanes = draft.policy.dense_lanes(plain, bool(draft.parameters))
    _parameters(draft, number, group, by_input.by_output() if lanes == "outputs" else by_input)
    weights = draft.parameters[-1].layout
    assert isinstance(weights, DenseWeights | DenseWeightsByOutput)
    spec: KernelSpec = plain
    if lanes != "inputs":
        spec = specs.DenseForwardByOutput(source, weights, target, layer.bias, group.act)
    text = group.text("dense" + ("+bias" if layer.bias else ""))
    draft.entry("forward", spec, (x, f"w{number}", y), (y,), group.placed.label, text)


def _parameters(draft: Draft, number: int, group: Group, layout: Weights) -> None:
    weight, *bias = layer_parameters(group.placed)
    stored = not isinstance(layout, DenseWeights | DenseWeightsByOutput)
    draft.parameters.append(LayerParameters(number, layout, weight, bias[0] if bias else None, stored))
    for name in (f"w{number}", f"dw{number}") if stored else (f"w{number}", *dense_states(draft, number)):
        draft.add(name, layout, owned=True)
