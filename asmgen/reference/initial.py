"""The parameters a model starts from, as the runtime draws them (docs/architecture.md, Random numbers)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from asmgen.model.network import Model
from asmgen.model.params import read_initial
from asmgen.model.trace import checkpoint_of
from asmgen.ops.base import Buffer, Parameter
from asmgen.reference.random import normal, uniform

Array = np.ndarray[Any, Any]


def initial_parameters(model: Model) -> dict[str, Array]:
    """Canonical arrays of parameters by name, in the model's dtype; tensor i of a checkpoint draws from stream i."""
    return {
        tensor.name: _initial(model, tensor, stream)
        for stream, tensor in enumerate(checkpoint_of(model))
        if isinstance(tensor, Parameter)
    }


def initial_checkpoint(model: Model) -> dict[str, Array]:
    """Canonical arrays of parameters and buffers by name, in checkpoint order; counts are int64."""
    return {
        tensor.name: _first(model, tensor) if isinstance(tensor, Buffer) else _initial(model, tensor, stream)
        for stream, tensor in enumerate(checkpoint_of(model))
    }


def _first(model: Model, buffer: Buffer) -> Array:
    return np.full(buffer.shape, buffer.initial, np.int64 if buffer.is_count else model.dtype)


def _initial(model: Model, parameter: Parameter, stream: int) -> Array:
    kind, scale = parameter.init.init_for(parameter.fan_in, parameter.fan_out)
    count = math.prod(parameter.shape)
    values: Array | None = read_initial(parameter)
    if values is None:
        values = _FILLED[kind](model, stream, count, scale)
    return np.asarray(values, model.dtype).reshape(parameter.shape)


_FILLED: dict[str, Callable[[Model, int, int, float], Array]] = {
    "uniform": lambda model, stream, count, scale: uniform(model.seed, stream, count, scale, model.dtype),
    "normal": lambda model, stream, count, scale: normal(model.seed, stream, count, scale, model.dtype),
    "constant": lambda model, stream, count, scale: np.full(count, scale),
    "zeros": lambda model, stream, count, scale: np.zeros(count),
}
