"""Model -> Plan: layouts of every group, then forward, backward and update as explicit kernel calls."""

from __future__ import annotations

from dataclasses import replace

from asmgen.model.geometry import Shape
from asmgen.model.layers import Conv2D, Dense
from asmgen.model.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.model.network import Model
from asmgen.model.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.model.params import layer_parameters
from asmgen.plan import specs
from asmgen.plan.arena import Region, place, spans_apart
from asmgen.plan.fuse import Group, fuse
from asmgen.plan.layout import (
    ELEMENT_BYTES,
    LINE_BYTES,
    NO_HALO,
    Activations,
    ConvWeights,
    ConvWeightsByInput,
    DenseWeights,
    Halo,
    Image,
    Rows,
    round_up,
)
from asmgen.plan.plan import Entry, LayerParameters, Layout, Plan, Tensor, Weights
from asmgen.plan.policy import Policy, PoolGradients
from asmgen.plan.schedule import schedule
from asmgen.plan.specs import Activation, Conv, KernelSpec, Pool

SMALL_STEP_BYTES = 8 << 20  # of all tensors: what stays near in any order, and where a barrier counts

_LOSS_KINDS = {SoftmaxCrossEntropy: "softmax_ce", BinaryCrossEntropy: "bce", MeanSquaredError: "mse"}
_UPDATE_KINDS = {SGD: "sgd", Momentum: "momentum", Nesterov: "nesterov", Adam: "adam", AdamW: "adamw"}
_DEFAULT = Policy()

#: Behind the parameters of dense layers and behind each of their states, so that equal elements lie in other L1 sets.
_DENSE_GAP_BYTES = 21 * LINE_BYTES


def build_plan(model: Model, lanes: int, policy: Policy = _DEFAULT) -> Plan:
    """The plan of a model for vectors of `lanes` elements, checked.

    Raises ModelError or UnsupportedError, with file:line of the layer, where the model does not fit together or a
    layer has no kernel.
    """
    return _Builder(model, lanes, policy).build()


class _Builder:
    """Collects tensors and entries; one `build` per instance."""

    def __init__(self, model: Model, lanes: int, policy: Policy) -> None:
        self.model = model
        self.lanes = lanes
        self.policy = policy
        self.dtype = model.dtype
        self.batch = model.batch_size
        self.groups = fuse(model)
        self.tensors: dict[str, Tensor] = {}
        self.entries: list[Entry] = []
        self.parameters: list[LayerParameters] = []
        self.convs: dict[int, Conv] = {}
        self.input = "x0"
        self.partial: dict[int, specs.ConvWeightGradient] = {}

    def build(self) -> Plan:
        self._io_tensors()
        self._forward()
        self._backward()
        regions = self._regions()
        self._update()
        tensors = tuple(self.tensors.values())
        apart = spans_apart(tensors, regions)
        is_small = max(end for _, end in apart.values()) <= SMALL_STEP_BYTES
        stages = schedule(self.entries, apart, reorder=is_small)
        offsets, arena_bytes = place(tensors, regions, stages.stages)
        plan = Plan(
            model_name=self.model.name,
            lanes=self.lanes,
            dtype=self.dtype,
            batch=self.batch,
            entries=stages.entries,
            tensors=tensors,
            offsets=offsets,
            arena_bytes=arena_bytes,
            parameters=tuple(self.parameters),
            input=self.input,
            logits=f"y{len(self.groups)}",
        )
        plan.check()
        return plan

    # tensors -------------------------------------------------------------------------------------------------------

    def _add(self, name: str, layout: Layout, owned: bool = False) -> None:
        keeps_zeros = (isinstance(layout, Image) and (bool(layout.halo) or layout.block == 1)) or (
            isinstance(layout, Rows) and layout.source is None
        )
        self.tensors[name] = Tensor(name, layout.size_bytes, layout, owned or keeps_zeros)

    def _raw(self, name: str, size_bytes: int, owned: bool = False) -> None:
        self.tensors[name] = Tensor(name, size_bytes, None, owned)

    def _io_tensors(self) -> None:
        element_bytes = ELEMENT_BYTES[self.dtype]
        self._raw("indices", 4 * self.batch, owned=True)
        self._raw("pixels", 8 * self.batch, owned=True)
        self._raw("labels", 4 * self.batch, owned=True)
        self._raw("loss", LINE_BYTES + round_up(element_bytes * self.batch, LINE_BYTES) + 4 * self.batch, owned=True)
        self._raw("hyper", 3 * element_bytes, owned=True)

    def _image(self, shape: Shape, halo: Halo = NO_HALO) -> Image:
        c, h, w = shape
        return Image(self.batch, c, h, w, self.lanes, self.dtype, halo)

    def _rows(self, shape: Shape, source: Image | None = None) -> Rows:
        return Rows(self.batch, shape[0], self.lanes, self.dtype, source)

    def _layout(self, name: str) -> Activations:
        layout = self.tensors[name].layout
        assert isinstance(layout, (Image, Rows))
        return layout

    def _as_rows(self, name: str) -> Rows:
        """The tensor seen as rows: itself, or the flattened view of an image."""
        layout = self._layout(name)
        if isinstance(layout, Rows):
            return layout
        return Rows(layout.n, layout.c * layout.h * layout.w, self.lanes, self.dtype, layout)

    def _entry(
        self,
        phase: str,
        spec: KernelSpec,
        args: tuple[str | None, ...],
        outputs: tuple[str, ...],
        layer: str,
        text: str,
        in_place: tuple[str, ...] = (),
    ) -> None:
        """Append an entry; arguments that are not outputs are inputs, those of `in_place` are both."""
        read = (arg for arg in args if arg and arg != "images" and (arg not in outputs or arg in in_place))
        self.entries.append(Entry(phase, spec, args, layer, text, tuple(dict.fromkeys(read)), outputs))

    # forward -------------------------------------------------------------------------------------------------------

    def _forward(self) -> None:
        self._load_input()
        for number, group in enumerate(self.groups, start=1):
            x, y = f"y{number - 1}" if number > 1 else self.input, f"y{number}"
            halo = self._halo_wanted(number)
            match group.kind:
                case "conv":
                    self._conv_forward(number, group, x, y, halo)
                case "dense":
                    self._dense_forward(number, group, x, y)
                case "pool":
                    assert group.pool is not None
                    self._add(y, self._image(group.out_shape, halo))
                    codes = self._codes(number, group)
                    spec = specs.PoolForward(self._images(x), self._images(y), group.pool)
                    outputs = (y, codes) if codes else (y,)
                    self._entry("forward", spec, (x, y, codes), outputs, group.placed.label, _text("", group))
                case "act":
                    source = self._layout(x)
                    # Behind a Flatten the activation still works on the image: the view changes nothing.
                    shape = (source.c, source.h, source.w) if isinstance(source, Image) else group.out_shape
                    target = self._image(shape, halo) if isinstance(source, Image) else source
                    self._add(y, target)
                    act_spec = specs.ActForward(source, target, group.act)
                    self._entry("forward", act_spec, (x, y), (y,), group.placed.label, _text("", group))
        z = f"y{len(self.groups)}"
        loss = specs.Loss(_LOSS_KINDS[type(self.model.loss)], self._as_rows(z))
        self._add(f"d{z}", self._layout(z))
        self._entry("forward", loss, (z, "labels", f"d{z}", "loss"), (f"d{z}", "loss"), "loss", loss.kind)

    def _load_input(self) -> None:
        """The input as numbers, unless the first layer reads the pixels itself.

        A dense layer does not: forward and the weight gradient would convert them for every group of outputs again.
        """
        c, h, w = self.model.input
        first = self.groups[0]
        scale, shift = zip(*self.model.data.affine(c), strict=True)
        dst: Activations
        if first.kind == "conv":
            dst = Image(self.batch, c, h, w, 1, self.dtype, _conv_halo(first))
            conv = replace(self._conv(first, dst), pixels=specs.Pixels(scale, shift))
            if self.policy.reads_pixels(conv, first.pool):
                self.input, self.convs[1] = "pixels", conv
                return
        else:
            dst = self._rows((c * h * w,))
        self._add("x0", dst)
        spec = specs.LoadInput(c, h, w, dst, scale, shift)
        self._entry("forward", spec, ("images", "indices", "x0"), ("x0",), "input", "load_input")

    def _halo_wanted(self, number: int) -> Halo:
        """The halo that the group after `number` needs around its input."""
        if number < len(self.groups) and self.groups[number].kind == "conv":
            return _conv_halo(self.groups[number])
        return NO_HALO

    def _images(self, name: str) -> Image:
        layout = self._layout(name)
        assert isinstance(layout, Image), name
        return layout

    def _codes(self, number: int, group: Group) -> str | None:
        """The tensor of argmax codes or live bits that the group's backward pass needs, if any."""
        pool = group.pool
        if pool is None or (pool.kind == "avg" and not group.act):
            return None
        y = self._layout(f"y{number}")
        assert isinstance(y, Image)
        name = f"code{number}"
        self._raw(name, y.n * y.n_c_blocks * y.h * y.w * y.block)
        return name

    def _conv(self, group: Group, x: Image) -> Conv:
        layer = group.placed.layer
        assert isinstance(layer, Conv2D)
        weights = ConvWeights(layer.filters, x.c, *layer.kernel, self.lanes, self.dtype)
        _, oh, ow = group.out_shape
        ph, pw = (group.pool.ph, group.pool.pw) if group.pool else (1, 1)
        top, _, left, _ = layer.pads
        return Conv(x, weights, oh * ph, ow * pw, *layer.stride, top, left, layer.bias)

    def _conv_forward(self, number: int, group: Group, x: str, y: str, halo: Halo) -> None:
        if number not in self.convs:
            self.convs[number] = self._conv(group, self._images(x))
        conv = self.convs[number]
        weights = conv.weights
        by_input = self._gradients(number, group) == "sparse" and _has_sparse_dw(group, conv.x)
        self._parameters(number, group, weights.by_input() if by_input else weights)
        self._add(y, self._image(group.out_shape, halo))
        codes = self._codes(number, group)
        outputs = (y, codes) if codes else (y,)
        w = self._forward_weights(number, group)
        what = conv, self._images(y), group.act, group.pool, codes is not None
        spec: KernelSpec = specs.Conv2dForward(*what)
        op = "conv2d"
        m = self.policy.algorithm(conv, False)
        if m is not None and _winograd_fits(group.pool):
            spec, op = specs.Conv2dForwardWinograd(*what, m), f"conv2d_winograd{m}"
            w = self._winograd_weights(number, group, w, m, mirrored=False)
        text = _text(op + ("+bias" if conv.bias else ""), group)
        self._entry("forward", spec, (x, w, y, codes), outputs, group.placed.label, text)

    def _winograd_weights(self, number: int, group: Group, w: str, m: int, *, mirrored: bool) -> str:
        """The tensor of transformed weights, derived from `w`."""
        layout = self.convs[number].weights
        transform = specs.WinogradWeights(layout.input_gradient() if mirrored else layout, m, mirrored)
        name = f"udx{number}" if mirrored else f"u{number}"
        self._add(name, transform.u, owned=True)
        self._entry("derive", transform, (w, name), (name,), group.placed.label, f"winograd{m}_weights")
        return name

    def _forward_weights(self, number: int, group: Group) -> str:
        """The weights with lanes = output channels: the parameters themselves, or their copy."""
        layout = self.parameters[-1].layout
        if not isinstance(layout, ConvWeightsByInput):
            return f"w{number}"
        name = f"wf{number}"
        self._add(name, layout.by_output(), owned=True)
        pack = specs.Conv2dPackForward(layout)
        self._entry("derive", pack, (f"w{number}", name), (name,), group.placed.label, "conv2d_pack_fwd")
        return name

    def _dense_forward(self, number: int, group: Group, x: str, y: str) -> None:
        layer = group.placed.layer
        assert isinstance(layer, Dense)
        source = self._as_rows(x)
        weights = DenseWeights(layer.units, source, self.lanes, self.dtype)
        self._parameters(number, group, weights)
        target = self._rows(group.out_shape)
        self._add(y, target)
        spec = specs.DenseForward(source, weights, target, layer.bias, group.act)
        text = _text("dense" + ("+bias" if layer.bias else ""), group)
        self._entry("forward", spec, (x, f"w{number}", y), (y,), group.placed.label, text)

    def _parameters(self, number: int, group: Group, layout: Weights) -> None:
        weight, *bias = layer_parameters(group.placed)
        stored = not isinstance(layout, DenseWeights)
        self.parameters.append(LayerParameters(number, layout, weight, bias[0] if bias else None, stored))
        for name in (f"w{number}", f"dw{number}") if stored else (f"w{number}", *self._states(number)):
            self._add(name, layout, owned=True)

    # backward ------------------------------------------------------------------------------------------------------

    def _backward(self) -> None:
        first_trained = self.parameters[0].group
        for number in range(len(self.groups), first_trained - 1, -1):
            group = self.groups[number - 1]
            x = f"y{number - 1}" if number > 1 else self.input
            dx = f"d{x}" if number > first_trained else None
            match group.kind:
                case "conv":
                    self._conv_backward(number, group, x, dx)
                case "dense":
                    self._dense_backward(number, group, x, dx)
                case "pool":
                    assert group.pool is not None
                    assert dx is not None
                    self._add(dx, self._without_halo(x))
                    spec = specs.PoolBackward(self._images(f"dy{number}"), self._images(dx), group.pool)
                    codes = f"code{number}" if group.pool.kind == "max" else None
                    args = (f"dy{number}", codes, dx)
                    self._entry("backward", spec, args, (dx,), group.placed.label, _text("d", group))
                case "act":
                    assert dx is not None
                    self._add(dx, self._without_halo(x))
                    self._act_backward(number, group, dx)
        self._sum_parts()

    def _without_halo(self, name: str) -> Activations:
        layout = self._layout(name)
        return self._image((layout.c, layout.h, layout.w)) if isinstance(layout, Image) else layout

    def _act_backward(self, number: int, group: Group, dx: str) -> None:
        dy, y = f"dy{number}", f"y{number}"
        spec = specs.ActBackward(self._layout(dy), self._layout(y), self._layout(dx), group.act)
        self._entry("backward", spec, (dy, y, dx), (dx,), group.placed.label, f"d{group.act.kind}", (dy,))

    def _dense_backward(self, number: int, group: Group, x: str, dx: str | None) -> None:
        dy, w = f"dy{number}", f"w{number}"
        layer = group.placed.layer
        assert isinstance(layer, Dense)
        weights = self.parameters[self._parameter_index(number)].layout
        assert isinstance(weights, DenseWeights)
        label = group.placed.label
        if group.act:
            self._act_backward(number, group, dy)
        if dx is not None:
            self._add(dx, self._without_halo(x))
            spec = specs.DenseBackwardInput(self._as_rows(dy), weights, self._as_rows(dx))
            self._entry("backward", spec, (dy, w, dx), (dx,), label, "dense_dx")
        # Behind dx, which needs the old weights.
        step, outputs = self._step(weights.size_bytes), (w, *self._states(number))
        update = specs.DenseUpdate(
            self._as_rows(x), self._as_rows(dy), weights, layer.bias, step, self._state_bytes(step.n_states)
        )
        self._entry("backward", update, (x, dy, w, "hyper"), outputs, label, f"dense_dw+{step.kind}", outputs)

    def _parameter_index(self, number: int) -> int:
        return next(i for i, parameters in enumerate(self.parameters) if parameters.group == number)

    def _conv_backward(self, number: int, group: Group, x: str, dx: str | None) -> None:
        match self._gradients(number, group):
            case "sparse":
                self._conv_backward_sparse(number, group, x, dx)
            case "pooled":
                self._conv_backward_pooled(number, group, x, dx)
            case "stored":
                self._conv_backward_dense(number, group, x, dx)

    def _gradients(self, number: int, group: Group) -> PoolGradients:
        """How a convolution's gradients are computed."""
        if not _is_sparse(group):
            return "stored"
        assert group.pool is not None
        has_parameters_below = bool(self.parameters) and self.parameters[0].group < number
        return self.policy.behind_max_pool(self.convs[number], group.pool, has_parameters_below)

    def _conv_backward_sparse(self, number: int, group: Group, x: str, dx: str | None) -> None:
        """Behind a max pool: from the live entries of dy, without a gradient of the convolution's output."""
        conv, pool = self.convs[number], group.pool
        assert pool is not None
        dy, codes, w, label = f"dy{number}", f"code{number}", f"w{number}", group.placed.label
        if group.act:
            self._act_backward(number, group, dy)
        images, groups = self._images(dy), self.policy.groups(conv)
        if dx is not None:
            live = specs.LiveEntries(conv, images, pool)
            entries = f"live{number}"
            self._raw(entries, conv.x.n * live.list_bytes)
            self._entry("backward", live, (dy, codes, entries), (entries,), label, "live_entries")
        dw: specs.Conv2dBackwardWeightsSparse | specs.Conv2dBackwardWeightsPooled
        if _has_sparse_dw(group, conv.x):
            dw, text = specs.Conv2dBackwardWeightsSparse(conv, images, pool, groups), "conv2d_dw_sparse"
        else:
            dw, text = specs.Conv2dBackwardWeightsPooled(conv, images, pool, groups), "conv2d_dw_pooled"
        self._weight_gradient(number, dw, (x, dy, codes), label, text)
        if dx is not None:  # the last: the next layer goes on with its samples
            self._add(dx, self._without_halo(x))
            spec = specs.Conv2dBackwardInputSparse(conv, images, self._images(dx), pool)
            self._entry("backward", spec, (entries, w, dx), (dx,), label, "conv2d_dx_sparse")

    def _conv_backward_pooled(self, number: int, group: Group, x: str, dx: str | None) -> None:
        """Behind a max pool: from dy and its codes, without a gradient of the convolution's output."""
        conv, pool = self.convs[number], group.pool
        assert pool is not None
        dy, codes, label = f"dy{number}", f"code{number}", group.placed.label
        if group.act:
            self._act_backward(number, group, dy)
        if dx is not None:
            w = self._input_gradient_weights(number, group)
            self._add(dx, self._without_halo(x))
            spec = specs.Conv2dBackwardInputPooled(conv, self._images(dy), self._images(dx), pool)
            self._entry("backward", spec, (dy, codes, w, dx), (dx,), label, "conv2d_dx_pooled")
        dw = specs.Conv2dBackwardWeightsPooled(conv, self._images(dy), pool, self.policy.groups(conv))
        self._weight_gradient(number, dw, (x, dy, codes), label, "conv2d_dw_pooled")

    def _input_gradient_weights(self, number: int, group: Group) -> str:
        """The tensor of the weights with lanes = input channels, derived from the parameters."""
        weights, name = self.convs[number].weights, f"wdx{number}"
        self._raw(name, weights.input_gradient().bias_offset_bytes, owned=True)
        pack = specs.Conv2dPackInputGradient(weights)
        self._entry("derive", pack, (f"w{number}", name), (name,), group.placed.label, "conv2d_pack_dx")
        return name

    def _conv_backward_dense(self, number: int, group: Group, x: str, dx: str | None) -> None:
        conv = self.convs[number]
        dy, dz, label = f"dy{number}", f"dz{number}", group.placed.label
        halo = _dz_halo(conv) if dx is not None else NO_HALO
        if group.act or group.pool or halo:
            self._add(dz, self._image((conv.weights.oc, conv.oh, conv.ow), halo))
            unpool = specs.Conv2dUnpool(
                self._images(dy), self._images(f"y{number}"), self._images(dz), group.act, group.pool
            )
            y = f"y{number}" if group.act and not (group.pool and group.pool.kind == "avg") else None
            codes = f"code{number}" if f"code{number}" in self.tensors else None
            self._entry("backward", unpool, (dy, y, codes, dz), (dz,), label, _text("d", group))
        else:
            dz = dy
        if dx is not None:
            w, op = self._input_gradient_weights(number, group), "conv2d_dx"
            self._add(dx, self._without_halo(x))
            what = conv, self._images(dz), self._images(dx)
            spec: KernelSpec = specs.Conv2dBackwardInput(*what)
            m = self.policy.algorithm(conv, True)
            if m is not None:
                spec, op = specs.Conv2dBackwardInputWinograd(*what, m), f"conv2d_dx_winograd{m}"
                w = self._winograd_weights(number, group, w, m, mirrored=True)
            self._entry("backward", spec, (dz, w, dx), (dx,), label, op)
        dw = specs.Conv2dBackwardWeights(conv, self._images(dz), self.policy.groups(conv))
        self._weight_gradient(number, dw, (x, dz), label, "conv2d_dw")

    def _weight_gradient(
        self, number: int, dw: specs.ConvWeightGradient, args: tuple[str, ...], label: str, text: str
    ) -> None:
        """dw, or parts of it that `_sum_parts` adds."""
        target = f"dw{number}"
        if dw.groups > 1:
            target = f"part{number}"
            self._raw(target, dw.groups * specs.part_stride_bytes(dw.dw))
            self.partial[number] = dw
        self._entry("backward", dw, (*args, target), (target,), label, text)

    def _sum_parts(self) -> None:
        """What is summed in parts is added at the end, so that no other entry waits for it."""
        for number, dw in self.partial.items():
            spec = specs.SumParts.of(dw.dw, dw.groups, bias=dw.conv.bias)
            label = self.groups[number - 1].placed.label
            self._entry("backward", spec, (f"part{number}", f"dw{number}"), (f"dw{number}",), label, "sum_parts")

    # update --------------------------------------------------------------------------------------------------------

    def _regions(self) -> list[Region]:
        """Parameters and gradients for one update; those that dense layers update: with their states."""
        found = []
        stored = [parameters for parameters in self.parameters if parameters.stores_gradient]
        if stored:
            found.append(Region("params", tuple(self.tensors[parameters.name] for parameters in stored)))
            found.append(Region("grads", tuple(self.tensors[parameters.gradient] for parameters in stored)))
        for region in found:
            self._raw(region.name, region.size_bytes, owned=True)
        fused = [parameters.group for parameters in self.parameters if not parameters.stores_gradient]
        for name in ("w", *self._state_names()) if fused else ():
            parts = tuple(self.tensors[f"{name}{number}"] for number in fused)
            found.append(Region(f"dense_{name}", parts, _DENSE_GAP_BYTES))
        return found

    def _step(self, size_bytes: int) -> specs.Update:
        """The optimizer's step over parameters of this size."""
        optimizer = self.model.optimizer
        return specs.Update(
            kind=_UPDATE_KINDS[type(optimizer)],
            dtype=self.dtype,
            block=self.lanes,
            n_vectors=size_bytes // (self.lanes * ELEMENT_BYTES[self.dtype]),
            momentum=optimizer.momentum if isinstance(optimizer, Momentum) else 0.0,
            beta1=optimizer.beta1 if isinstance(optimizer, Adam) else 0.0,
            beta2=optimizer.beta2 if isinstance(optimizer, Adam) else 0.0,
            eps=optimizer.eps if isinstance(optimizer, Adam) else 0.0,
            weight_decay=optimizer.weight_decay,
        )

    def _state_names(self) -> tuple[str, ...]:
        """As the optimizer's formula calls its states."""
        return ((), ("v",), ("m", "v"))[self._step(0).n_states]

    def _states(self, number: int) -> tuple[str, ...]:
        """The states of a dense layer's parameters."""
        return tuple(f"{name}{number}" for name in self._state_names())

    def _state_bytes(self, n_states: int) -> tuple[int, ...]:
        """From a dense layer's parameters to each of their states."""
        blocks = (block.layout.size_bytes for block in self.parameters if not block.stores_gradient)
        distance = sum(round_up(size, LINE_BYTES) for size in blocks) + _DENSE_GAP_BYTES
        return tuple(state * distance for state in range(1, n_states + 1))

    def _update(self) -> None:
        """The step of all parameters whose gradients are stored."""
        if "params" in self.tensors:
            params_bytes = self.tensors["params"].size_bytes
            spec = self._step(params_bytes)
            state = "state" if spec.n_states else None
            if state:
                self._raw(state, spec.n_states * params_bytes, owned=True)
            outputs = ("params", state) if state else ("params",)
            self._entry("update", spec, ("params", "grads", state, "hyper"), outputs, "optimizer", spec.kind, outputs)


def _winograd_fits(pool: Pool | None) -> bool:
    """Whether the output transform can pool: its tiles hold windows of at most 2 x 2."""
    return pool is None or max(pool.ph, pool.pw) <= 2


def _is_sparse(group: Group) -> bool:
    """Whether at most one position in every window of the convolution's output has a gradient."""
    return group.pool is not None and group.pool.kind == "max" and group.pool.ph * group.pool.pw > 1


def _has_sparse_dw(group: Group, x: Image) -> bool:
    """Whether the weight gradient walks live entries: its lanes are then input channels, which a planar input lacks."""
    return _is_sparse(group) and x.block > 1


def _conv_halo(group: Group) -> Halo:
    """How far the convolution's taps reach beyond its input, with the outputs it computes."""
    layer = group.placed.layer
    assert isinstance(layer, Conv2D)
    _, h, w = group.in_shape
    _, oh, ow = group.out_shape
    ph, pw = (group.pool.ph, group.pool.pw) if group.pool else (1, 1)
    top, _, left, _ = layer.pads
    reach_h = (oh * ph - 1) * layer.stride[0] + layer.kernel[0] - top
    reach_w = (ow * pw - 1) * layer.stride[1] + layer.kernel[1] - left
    return Halo(top, max(0, reach_h - h), left, max(0, reach_w - w))


def _dz_halo(conv: Conv) -> Halo:
    """How far the input gradient's taps reach beyond dz: dx[h] needs dz[(h + pt - i) / sh] for every tap i."""
    kh, kw = conv.weights.kh, conv.weights.kw
    return Halo(
        max(0, (kh - 1 - conv.pt) // conv.sh),
        max(0, (conv.x.h - 1 + conv.pt) // conv.sh - (conv.oh - 1)),
        max(0, (kw - 1 - conv.pl) // conv.sw),
        max(0, (conv.x.w - 1 + conv.pl) // conv.sw - (conv.ow - 1)),
    )


def _text(op: str, group: Group) -> str:
    """`conv2d+bias+relu+maxpool2`: the plan's word for a fused op."""
    act: Activation = group.act
    words = [op] if op and op != "d" else []
    if act:
        words.append(act.kind)
    if group.pool:
        pool = group.pool
        words.append(f"{pool.kind}pool" + (f"{pool.ph}" if pool.ph == pool.pw else f"{pool.ph}x{pool.pw}"))
    text = "+".join(words) or "copy"
    return f"d({text})" if op == "d" else text
