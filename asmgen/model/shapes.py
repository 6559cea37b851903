"""Shapes of every layer, and the check that a model fits together."""

from __future__ import annotations

import sys
from collections import Counter

from asmgen.errors import ModelError
from asmgen.model.geometry import LayerShape, Shape, dims, place
from asmgen.model.layers import AvgPool2D, Conv2D, Layer, MaxPool2D, Sigmoid, Softmax
from asmgen.model.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from asmgen.model.network import Model
from asmgen.model.params import layer_parameters, read_initial

MAX_CLASSES = 256  # labels are bytes
_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


def infer_shapes(model: Model) -> list[LayerShape]:
    """The shape of every layer in `model.layers`, in order, after checking the whole model.

    Raises ModelError at the line of the layer (or of the model) that does not fit.
    """
    model.data.check_channels(model.input[0])
    shapes: list[LayerShape] = []
    shape: Shape = model.input
    seen: Counter[str] = Counter()
    after_pool = False
    for index, layer in enumerate(model.layers):
        seen[layer.kind] += 1
        placed = place(layer, index, f"{layer.kind}{seen[layer.kind]}", shape, after_pool)
        shapes.append(placed)
        shape = placed.out_shape
        if isinstance(layer, (MaxPool2D, AvgPool2D, Conv2D)):
            after_pool = not isinstance(layer, Conv2D)
    _check_softmax(model, shapes)
    _check_outputs(model, shapes[-1])
    _check_parameters(model, shapes)
    return shapes


def logit_layers(model: Model) -> tuple[Layer, ...]:
    """The layers whose output the loss works on: without a last Softmax or Sigmoid that is part of the loss."""
    last = model.layers[-1]
    softmax = isinstance(last, Softmax) and isinstance(model.loss, SoftmaxCrossEntropy)
    sigmoid = isinstance(last, Sigmoid) and isinstance(model.loss, BinaryCrossEntropy)
    return tuple(model.layers[:-1] if softmax or sigmoid else model.layers)


def classes_of(model: Model) -> int:
    """Labels must be smaller than this: the number of outputs, or 2 where there is one."""
    (outputs,) = infer_shapes(model)[-1].out_shape
    return max(outputs, 2)


def _check_softmax(model: Model, shapes: list[LayerShape]) -> None:
    for placed in shapes:
        if not isinstance(placed.layer, Softmax):
            continue
        if placed.index != len(shapes) - 1:
            raise ModelError(placed.where, f"{placed.label}: Softmax can only be the last layer")
        if not isinstance(model.loss, SoftmaxCrossEntropy):
            raise ModelError(
                placed.where,
                f"{placed.label}: Softmax goes with SoftmaxCrossEntropy(), not {type(model.loss).__name__}()",
            )


def _check_outputs(model: Model, last: LayerShape) -> None:
    loss = type(model.loss).__name__
    if len(last.out_shape) != 1:
        raise ModelError(
            last.where,
            f"{last.label}: the network ends in an image {dims(last.out_shape)}; end it with Flatten(), Dense(...)",
        )
    outputs = last.out_shape[0]
    if isinstance(model.loss, SoftmaxCrossEntropy) and outputs < 2:
        raise ModelError(
            last.where, f"{last.label}: {loss} needs 2 or more outputs, not 1; use BinaryCrossEntropy() or Dense(2)"
        )
    if outputs > MAX_CLASSES:
        raise ModelError(last.where, f"{last.label}: {outputs} outputs; at most {MAX_CLASSES} (labels are bytes)")


def _check_parameters(model: Model, shapes: list[LayerShape]) -> None:
    parameters = [parameter for placed in shapes for parameter in layer_parameters(placed)]
    if not parameters:
        raise model.error("no layer has parameters, so there is nothing to train; add a Dense or Conv2D layer")
    for parameter in parameters:
        values = read_initial(parameter)
        if values is not None and not abs(values).max(initial=0.0) <= _LARGEST[model.dtype]:
            raise ModelError(parameter.where, f"{parameter.label}: {parameter.name} starts too large for {model.dtype}")
