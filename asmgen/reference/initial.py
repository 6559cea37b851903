"""The parameters a model starts from, as the runtime draws them (docs/architecture.md, Random numbers)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from asmgen.model.network import Model
from asmgen.model.params import read_initial
from asmgen.model.trace import parameters_of
from asmgen.reference.random import normal, uniform

Array = np.ndarray[Any, Any]


def initial_parameters(model: Model) -> dict[str, Array]:
    """Canonical arrays by name, in the model's dtype; tensor i of the checkpoint draws from stream i."""
    found: dict[str, Array] = {}
    for stream, parameter in enumerate(parameters_of(model)):
        kind, scale = parameter.init.init_for(parameter.fan_in, parameter.fan_out)
        count = math.prod(parameter.shape)
        values: Array | None = read_initial(parameter)
        if values is None and kind == "uniform":
            values = uniform(model.seed, stream, count, scale, model.dtype)
        elif values is None and kind == "normal":
            values = normal(model.seed, stream, count, scale, model.dtype)
        elif values is None:
            values = np.zeros(count)
        found[parameter.name] = np.asarray(values, model.dtype).reshape(parameter.shape)
    return found
