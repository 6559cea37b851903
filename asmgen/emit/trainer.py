"""Writes `trainer.asm`: the step as a flat list of kernel calls (none where a device steps), and the model's facts."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import jinja2

from asmgen.emit.trainer_model import Call, Init, ParamTensor, TrainerModel
from asmgen.errors import AsmgenError
from asmgen.paths import TEMPLATES_DIR

REQUIRED_TENSORS = ("indices", "pixels", "labels", "loss", "hyper")
MAX_CLASSES = 256  # labels are bytes; runtime/score.inc
MAX_RANK = 8  # runtime/checkpoint_load.asm
LOSS_HEAD_BYTES = 64  # of the loss block, before the losses
ALIGNMENT = 64
DTYPES = {"float32": ("F32", 4), "float64": ("F64", 8)}
VALIDATION_SOURCES = {None: "VALIDATION_NONE", "train": "VALIDATION_TRAIN", "test": "VALIDATION_TEST"}
COUNT_DTYPE = ("I64", 8)
INIT_KINDS = {
    "zeros": "INIT_ZEROS",
    "constant": "INIT_CONSTANT",
    "uniform": "INIT_UNIFORM",
    "normal": "INIT_NORMAL",
    "data": "INIT_DATA",
}
# Rows of runtime/cpu.asm.
_SSE_FEATURES = ("sse3", "ssse3", "sse4_1", "sse4_2", "popcnt")
_AVX_FEATURES = ("avx", "f16c", "fma", "avx2", "bmi1", "bmi2")
_AVX512_FEATURES = ("avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl")
CPU_FEATURES = frozenset((*_SSE_FEATURES, *_AVX_FEATURES, *_AVX512_FEATURES))


@dataclass(frozen=True)
class TensorText:
    """One row of the tensor table as the template prints it."""

    index: int
    name: str
    shape: str
    dims: tuple[str, ...]
    row: str
    data: str
    comment: str


def render_trainer(model: TrainerModel) -> str:
    """The text of `trainer.asm`. Raises AsmgenError where the model breaks a contract with the runtime."""
    check(model)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES_DIR),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    header = _header_lines(model)
    return environment.get_template("trainer.asm.j2").render(
        model=model,
        arena=_arena(model),
        steps=_steps(model) if model.forward else [],
        texts=_aligned(_texts(model)),
        numbers=_aligned(_numbers(model, sum(map(len, header)))),
        tensors=_tensors(model),
        header=header,
        header_size=sum(map(len, header)),
    )


def check(model: TrainerModel) -> None:
    """Raises AsmgenError where `model` says something that the runtime cannot do."""

    def need(condition: bool, message: str) -> None:
        if not condition:
            raise AsmgenError(f"trainer of {model.name}: {message}")

    need(re.fullmatch(r"[\w.+-]+", model.name) is not None, "the name may hold letters, digits and . + - _ only")
    need(re.fullmatch(r"[\w./+-]+", model.dataset) is not None, f"data set {model.dataset!r} is not a plain path")
    need(model.dtype in DTYPES, f"dtype {model.dtype!r} is not one of {', '.join(DTYPES)}")
    need(1 <= model.classes <= MAX_CLASSES, f"{model.classes} classes; a label is a byte, so 1 to {MAX_CLASSES}")
    unknown = [feature for feature in model.cpu_features if feature not in CPU_FEATURES]
    need(not unknown, f"runtime/cpu.asm has no row for {', '.join(unknown)}")
    for name in REQUIRED_TENSORS:
        need(name in model.offsets, f"the arena has no tensor {name!r}")
    for name, offset in model.offsets.items():
        need(re.fullmatch(r"[A-Za-z_][\w.]*", name) is not None, f"arena tensor {name!r} is not a name NASM accepts")
        need(0 <= offset < model.arena_bytes, f"arena tensor {name!r} at byte {offset} of {model.arena_bytes}")
    for call in (*model.forward, *model.backward, *model.update, *model.derive, *model.evaluate):
        need(len(call.args) <= 4, f"{call.symbol} has {len(call.args)} arguments, at most 4 go in registers")
        need(call.units > 0, f"{call.symbol} has {call.units} units to slice")
        need(0 <= call.at_a_time <= call.units, f"{call.symbol}: a chain of {call.at_a_time} of {call.units} units")
        for arg in call.args:
            need(arg in (None, "images") or arg in model.offsets, f"{call.symbol}: the arena has no tensor {arg!r}")
    need(len(model.params) > 0, "there is nothing to train: it has no parameters")
    need(len({tensor.name for tensor in model.params}) == len(model.params), "two tensors have the same name")
    for tensor in model.params:
        elements = _elements(model, tensor)
        need(re.fullmatch(r"[\w.-]+", tensor.name) is not None, f"tensor name {tensor.name!r} is not plain")
        need(len(tensor.shape) <= MAX_RANK, f"{tensor.name} has rank {len(tensor.shape)}, at most {MAX_RANK}")
        need(elements > 0, f"{tensor.name} is empty")
        covered = math.prod(dim.extent for dim in tensor.dims)
        need(covered == elements, f"{tensor.name}: the dims hold {covered} elements, the shape {elements}")
        need(tensor.init.kind in INIT_KINDS, f"{tensor.name}: unknown initialiser {tensor.init.kind!r}")
        need((tensor.init.kind == "data") == bool(tensor.init.data), f"{tensor.name}: a data file needs kind 'data'")


def _arena(model: TrainerModel) -> list[tuple[str, int]]:
    """Arena names padded to a column, in the order of their offsets."""
    width = max(map(len, model.offsets))
    by_offset = sorted(model.offsets.items(), key=lambda item: (item[1], item[0]))
    return [(name.ljust(width), offset) for name, offset in by_offset]


def _steps(model: TrainerModel) -> list[tuple[str, str, list[str]]]:
    lists = (
        ("model_forward", "images -> losses, predictions", model.forward),
        ("model_backward", "losses -> gradients of convolutions, parameters of dense layers", model.backward),
        ("model_update", "gradients -> parameters of convolutions", model.update),
        ("model_derive", "parameters -> what is derived from them", model.derive),
        ("model_evaluate", "images -> losses, predictions; leaves nothing for gradients", model.evaluate),
    )
    calls = [call for _, _, step in lists for call in step]
    macro_width = len("KERNEL_REVERSED" if any(call.reversed_shares for call in calls) else "KERNEL")
    symbol_width = max((len(call.symbol) for call in calls), default=0) + 1
    operand_width = max((len(_operands(call)) for call in calls), default=0)

    def line(call: Call) -> str:
        macro = "KERNEL_REVERSED" if call.reversed_shares else "KERNEL"
        symbol, operands = call.symbol + ",", _operands(call)
        return f"{macro:<{macro_width}} {symbol:<{symbol_width}} {operands:<{operand_width}} ; {call.comment}"

    return [(label, comment, _step(step, line)) for label, comment, step in lists]


def _step(calls: Sequence[Call], line: Callable[[Call], str]) -> list[str]:
    """The lines of one list: calls, chains of them, barriers."""
    lines: list[str] = []
    for at_a_time, group in groupby(calls, key=lambda call: call.at_a_time):
        members = list(group)
        if at_a_time:
            lines.append(f"CHAIN {members[0].units}, {at_a_time}    ; a thread's samples, {at_a_time} at a time")
            lines += [f"    {line(call)}" for call in members]
            lines.append("END_CHAIN")
            lines += ["BARRIER"] * members[-1].barrier
            continue
        for call in members:
            lines += [line(call), *["BARRIER"] * call.barrier]
    return lines


def _operands(call: Call) -> str:
    args = [arg or "-" for arg in call.args]
    return ", ".join([*args, *["-"] * (4 - len(args)), str(call.units)])


def _aligned(facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Labels with their comma, padded to a column."""
    width = max(len(label) for label, _ in facts) + 1
    return [(f"{label},".ljust(width), value) for label, value in facts]


def _texts(model: TrainerModel) -> list[tuple[str, str]]:
    return [
        ("model_name", model.name),
        ("model_isa", model.isa),
        ("model_dtype", model.dtype),
        ("model_dtype_code", DTYPES[model.dtype][0]),
        ("model_count_code", COUNT_DTYPE[0]),
        ("model_dataset", model.dataset),
    ]


def _numbers(model: TrainerModel, header_bytes: int) -> list[tuple[str, str]]:
    _, element_bytes = DTYPES[model.dtype]
    loss = model.offsets["loss"]
    preds = loss + -(-(LOSS_HEAD_BYTES + model.batch * element_bytes) // ALIGNMENT) * ALIGNMENT
    parameters = sum(math.prod(tensor.shape) for tensor in model.params if tensor.is_trained)
    validation = model.validation
    whole: list[tuple[str, int | str]] = [
        ("model_element_bytes", element_bytes),
        ("model_channels", model.channels),
        ("model_height", model.height),
        ("model_width", model.width),
        ("model_classes", model.classes),
        ("model_useful_threads", model.useful_threads),
        ("model_batch", model.batch),
        ("model_least_present", model.least_present),
        ("model_epochs", model.epochs),
        ("model_seed", model.seed),
        ("model_parameters", parameters),
        ("model_validation_source", VALIDATION_SOURCES[validation.source if validation else None]),
        ("model_validation_begin", validation.begin if validation else 0),
        ("model_validation_end", validation.end if validation else 0),
        ("model_arena_bytes", model.arena_bytes),
        *((f"model_{name}", f"a.{name}") for name in REQUIRED_TENSORS),
        ("model_losses", loss + LOSS_HEAD_BYTES),
        ("model_preds", preds),
        ("model_cpu_feature_count", len(model.cpu_features)),
        ("model_tensor_count", len(model.params)),
        ("model_header_bytes", 8 + header_bytes),
        ("model_checkpoint_bytes", 8 + header_bytes + sum(_data_bytes(model, tensor) for tensor in model.params)),
    ]
    real = [
        ("model_lr", model.lr),
        ("model_lr_decay", model.lr_decay),
        ("model_beta1", model.beta1),
        ("model_beta2", model.beta2),
    ]
    return [(label, str(value)) for label, value in whole] + [
        (label, f"{_float64_bits(value)}    ; {value!r}") for label, value in real
    ]


def _float64_bits(value: float) -> str:
    """The bits, since assemblers round decimal text in their own ways."""
    return f"0x{struct.pack('>d', value).hex()}"


def _tensors(model: TrainerModel) -> list[TensorText]:
    _, element_bytes = DTYPES[model.dtype]
    rows = []
    for index, (tensor, file_offset) in enumerate(zip(model.params, _file_offsets(model), strict=True)):
        rows.append(
            TensorText(
                index=index,
                name=tensor.name,
                shape=", ".join(map(str, (len(tensor.shape), *tensor.shape))),
                dims=tuple(
                    f"{dim.extent}, {dim.block}, {dim.outer_stride * element_bytes}, {dim.inner_stride * element_bytes}"
                    for dim in tensor.dims
                ),
                row=", ".join(
                    [
                        "model_count_code" if tensor.is_count else "model_dtype_code",
                        str(_elements(model, tensor)),
                        str(tensor.offset_bytes),
                        str(file_offset),
                        INIT_KINDS[tensor.init.kind],
                        _float64_bits(tensor.init.scale),
                        f"t{index}.data" if tensor.init.data else "0",
                    ]
                ),
                data=tensor.init.data,
                comment=_init_comment(tensor.init),
            )
        )
    return rows


def _init_comment(init: Init) -> str:
    return {
        "zeros": "zeros",
        "constant": f"{init.scale!r} throughout",
        "uniform": f"uniform in +-{init.scale!r}",
        "normal": f"normal, std {init.scale!r}",
        "data": f"from {init.data}",
    }[init.kind]


def _file_offsets(model: TrainerModel) -> list[int]:
    offsets, at = [], 0
    for tensor in model.params:
        offsets.append(at)
        at += _data_bytes(model, tensor)
    return offsets


def _dtype(model: TrainerModel, tensor: ParamTensor) -> tuple[str, int]:
    """What safetensors calls its elements, and their bytes."""
    return COUNT_DTYPE if tensor.is_count else DTYPES[model.dtype]


def _data_bytes(model: TrainerModel, tensor: ParamTensor) -> int:
    return math.prod(tensor.shape) * _dtype(model, tensor)[1]


def _elements(model: TrainerModel, tensor: ParamTensor) -> int:
    """Of the model's dtype."""
    return _data_bytes(model, tensor) // DTYPES[model.dtype][1]


def _header_lines(model: TrainerModel) -> list[str]:
    """The JSON header of the checkpoint, a tensor a line, padded so that the data starts at a multiple of 8."""
    lines = ['{"__metadata__":{"format":"pt"}']
    for tensor, begin in zip(model.params, _file_offsets(model), strict=True):
        entry = {
            "dtype": _dtype(model, tensor)[0],
            "shape": list(tensor.shape),
            "data_offsets": [begin, begin + _data_bytes(model, tensor)],
        }
        lines.append(f',"{tensor.name}":{json.dumps(entry, separators=(",", ":"))}')
    lines.append("}")
    lines[-1] += " " * (-sum(map(len, lines)) % 8)
    return lines
