"""A model as a table: every layer with its output and its number of parameters."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields

from asmgen.model.network import Model
from asmgen.model.trace import trace
from asmgen.ops.base import Layer, dims
from asmgen.ops.located import Located


def describe(model: Model) -> str:
    """The model's facts, one line for each layer, and the total of parameters; no trailing newline."""
    graph = trace(model)
    rows = [("", "layer", "", "output", "parameters"), ("", "input", "", dims(model.input), "")]
    layers = [(node.op, node) for node in graph.nodes if isinstance(node.op, Layer)]
    for index, (layer, node) in enumerate(layers):
        mine = [parameter for parameter in graph.parameters if parameter.name in node.inputs]
        count = sum(math.prod(parameter.shape) for parameter in mine)
        shape = graph.values[node.outputs[0]].shape
        rows.append((str(index), node.label, text_of(layer), dims(shape), f"{count or ''}"))
    rows.append(("", "", "", "", str(sum(math.prod(parameter.shape) for parameter in graph.parameters))))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    index, label, text, output, parameters = widths
    lines = [
        f"{row[0]:>{index}}  {row[1]:<{label}}  {row[2]:<{text}}  {row[3]:>{output}}  {row[4]:>{parameters}}".rstrip()
        for row in rows
    ]
    facts = f"{model.name}: {model.dtype}, batch {model.batch_size}, {model.epochs} epochs, seed {model.seed}"
    parts = ", ".join(map(text_of, (model.loss, model.optimizer, model.data)))
    return "\n".join([facts, parts, "", *lines])


def text_of(part: Located) -> str:
    """The part as one would write it: values that are the default are left out, pairs of equal numbers shortened."""
    words = []
    for field in fields(part):
        if not field.repr:
            continue
        value = getattr(part, field.name)
        if field.default is MISSING:
            words.append(_spelled(value))
        elif value != field.default and not (field.name == "stride" and value == getattr(part, "window", (1, 1))):
            words.append(f"{field.name}={_spelled(value)}")
    return f"{type(part).__name__}({', '.join(words)})"


def _spelled(value: object) -> str:
    if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
        return str(value[0])
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
