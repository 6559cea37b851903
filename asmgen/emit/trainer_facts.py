"""Plan + Model -> TrainerModel: the facts that `trainer.asm` states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.emit.calls import step_calls
from asmgen.emit.threads import useful_threads
from asmgen.emit.trainer_model import Init, PackedDim, ParamTensor, Split, TrainerModel
from asmgen.model.network import Model
from asmgen.model.trace import checkpoint_of, classes_of, least_present, outputs_of
from asmgen.ops.base import Parameter
from asmgen.ops.optimizers import Adam
from asmgen.plan.layout import ChannelVectors, ConvWeights, ConvWeightsByInput, DenseWeights, DenseWeightsByOutput
from asmgen.plan.plan import EVALUATE, LayerBuffers, LayerParameters, Plan, Weights

INIT_FOLDER = "init"


def trainer_model(model: Model, plan: Plan, isa: Isa, listings: Mapping[str, Listing]) -> TrainerModel:
    """What the runtime needs to know of this model on this ISA."""
    calls = step_calls(plan, isa)
    return replace(
        device_facts(model, plan, isa.name),
        cpu_features=isa.cpu_features,
        useful_threads=useful_threads(plan, isa, listings),
        derive=calls["derive"],
        forward=calls["forward"],
        backward=calls["backward"],
        update=calls["update"],
        evaluate=calls[EVALUATE],
    )


def device_facts(model: Model, plan: Plan, target: str) -> TrainerModel:
    """What the runtime needs to know where a device does the step: everything but the calls."""
    channels, height, width = model.input
    optimizer = model.optimizer
    validation = model.data.validation
    return TrainerModel(
        name=model.name,
        isa=target,
        cpu_features=(),
        useful_threads=1,
        dtype=model.dtype,
        channels=channels,
        height=height,
        width=width,
        outputs=outputs_of(model),
        classes=classes_of(model),
        dataset=model.data.name,
        batch=model.batch_size,
        least_present=least_present(model),
        epochs=model.epochs,
        lr=optimizer.lr,
        lr_decay=optimizer.lr_decay,
        beta1=optimizer.beta1 if isinstance(optimizer, Adam) else 0.0,
        beta2=optimizer.beta2 if isinstance(optimizer, Adam) else 0.0,
        seed=model.seed,
        validation=Split(*validation) if validation else None,
        arena_bytes=plan.arena_bytes,
        offsets=dict(plan.offsets),
        params=_checkpoint(model, plan),
        derive=(),
        forward=(),
        backward=(),
        update=(),
        evaluate=(),
    )


def init_file(parameter: Parameter) -> str:
    """Where the canonical bytes of a parameter that starts from a file lie, relative to trainer.asm."""
    return f"{INIT_FOLDER}/{parameter.name}.bin"


def _checkpoint(model: Model, plan: Plan) -> tuple[ParamTensor, ...]:
    """All tensors of a checkpoint, in its order."""
    found = [tensor for parameters in plan.parameters for tensor in _tensors(parameters, plan)]
    found += [tensor for buffers in plan.buffers for tensor in _buffer_tensors(buffers, plan)]
    order = {tensor.name: at for at, tensor in enumerate(checkpoint_of(model))}
    return tuple(sorted(found, key=lambda tensor: order[tensor.name]))


def _tensors(parameters: LayerParameters, plan: Plan) -> list[ParamTensor]:
    layout = parameters.layout
    base = plan.offsets[parameters.name]
    tensors = []
    if parameters.weight:
        tensors.append(_tensor(parameters.weight, base, merged(dims_of(layout))))
    if parameters.bias:
        is_channels = isinstance(layout, ChannelVectors)
        bias_dims = merged(dims_of(layout)) if is_channels else (PackedDim(parameters.bias.shape[0], 1, 1, 0),)
        tensors.append(_tensor(parameters.bias, base + layout.bias_offset_bytes, bias_dims))
    return tensors


def _buffer_tensors(kept: LayerBuffers, plan: Plan) -> list[ParamTensor]:
    layout, base = kept.layout, plan.offsets[kept.name]
    places = (0, layout.var_offset_bytes, layout.count_offset_bytes)
    size = layout.vectors.element_bytes
    found = []
    for buffer, at in zip(kept.buffers, places, strict=True):
        dims = (PackedDim(8 // size, 1, 1, 0),) if buffer.is_count else merged(dims_of(layout.vectors))
        init = Init("constant", buffer.initial) if buffer.initial else Init("zeros")
        found.append(ParamTensor(buffer.name, buffer.shape, base + at, dims, init, False, buffer.is_count))
    return found


def _tensor(parameter: Parameter, offset_bytes: int, dims: tuple[PackedDim, ...]) -> ParamTensor:
    kind, scale = parameter.init.init_for(parameter.fan_in, parameter.fan_out)
    data = init_file(parameter) if kind == "data" else ""
    return ParamTensor(parameter.name, parameter.shape, offset_bytes, dims, Init(kind, scale, data))


def dims_of(layout: Weights) -> tuple[PackedDim, ...]:
    """Where the elements of a layer's weights lie, in canonical order."""
    match layout:
        case ConvWeights():
            return _conv_dims(layout)
        case ConvWeightsByInput():
            return _conv_dims_by_input(layout)
        case DenseWeightsByOutput():
            return _dense_dims_by_output(layout)
        case ChannelVectors():
            return _channel_dims(layout)
    return _dense_dims(layout)


def merged(dims: tuple[PackedDim, ...]) -> tuple[PackedDim, ...]:
    """The same walk in fewer dimensions: none of one index, one for neighbours at one distance throughout."""
    whole: list[PackedDim] = []
    for dim in dims:
        last = whole[-1] if whole else None
        if last and last.block == dim.block == 1 and last.outer_stride == dim.extent * dim.outer_stride:
            whole[-1] = PackedDim(last.extent * dim.extent, 1, dim.outer_stride, 0)
        elif dim.extent > 1:
            whole.append(dim)
    return tuple(whole) or dims[-1:]


def _channel_dims(layout: ChannelVectors) -> tuple[PackedDim, ...]:
    image = layout.source
    if image is None:
        return (PackedDim(layout.c, 1, 1, 0),)
    size = image.element_bytes
    return (
        PackedDim(image.c, image.block, image.plane_bytes // size, 1),
        PackedDim(image.h, 1, image.row_bytes // size, 0),
        PackedDim(image.w, 1, image.pixel_bytes // size, 0),
    )


def _conv_dims_by_input(layout: ConvWeightsByInput) -> tuple[PackedDim, ...]:
    size = layout.element_bytes
    return (
        PackedDim(layout.oc, 1, layout.oc_bytes // size, 0),
        PackedDim(layout.c, layout.block, layout.c_block_bytes // size, 1),
        PackedDim(layout.kh, 1, layout.kw * layout.block, 0),
        PackedDim(layout.kw, 1, layout.block, 0),
    )


def _conv_dims(layout: ConvWeights) -> tuple[PackedDim, ...]:
    size = layout.element_bytes
    return (
        PackedDim(layout.oc, layout.block, layout.oc_block_bytes // size, 1),
        PackedDim(layout.c, 1, layout.channel_bytes // size, 0),
        PackedDim(layout.kh, 1, layout.kw * layout.block, 0),
        PackedDim(layout.kw, 1, layout.block, 0),
    )


def _dense_dims_by_output(layout: DenseWeightsByOutput) -> tuple[PackedDim, ...]:
    size, apart = layout.element_bytes, layout.block  # elements from an input to the next
    outputs = PackedDim(layout.out, layout.block, layout.vector_bytes // size, 1)
    image = layout.inputs.source
    if image is None:
        return outputs, PackedDim(layout.inputs.features, 1, apart, 0)
    return (
        outputs,
        PackedDim(image.c, image.block, image.plane_bytes // size * apart, apart),
        PackedDim(image.h, 1, image.row_bytes // size * apart, 0),
        PackedDim(image.w, 1, image.pixel_bytes // size * apart, 0),
    )


def _dense_dims(layout: DenseWeights) -> tuple[PackedDim, ...]:
    rows = PackedDim(layout.out, 1, layout.inputs.stride, 0)
    image = layout.inputs.source
    if image is None:
        return rows, PackedDim(layout.inputs.features, 1, 1, 0)
    size = image.element_bytes
    return (
        rows,
        PackedDim(image.c, image.block, image.plane_bytes // size, 1),
        PackedDim(image.h, 1, image.row_bytes // size, 0),
        PackedDim(image.w, 1, image.pixel_bytes // size, 0),
    )
