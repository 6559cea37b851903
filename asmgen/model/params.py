"""The parameters of a model: PyTorch's names and shapes, and how each starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.errors import DataError, ModelError
from asmgen.model.geometry import LayerShape, dims
from asmgen.model.init import FromFile, Initializer
from asmgen.model.layers import Conv2D, Dense

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Parameter:
    """`name` as in the state_dict of PyTorch's nn.Sequential ("0.weight"), shape likewise; fans as PyTorch counts them.

    A bias has the fans of its layer's weights. `where` and `label` are the layer's.
    """

    name: str
    shape: tuple[int, ...]
    init: Initializer
    fan_in: int
    fan_out: int
    where: str
    label: str


def layer_parameters(placed: LayerShape) -> tuple[Parameter, ...]:
    """Weight, then bias, of a convolution or dense layer; nothing for the others."""
    layer = placed.layer
    match layer:
        case Conv2D():
            taps = math.prod(layer.kernel)
            channels = placed.in_shape[0]
            shape: tuple[int, ...] = (layer.filters, channels, *layer.kernel)
            fans = channels * taps, layer.filters * taps
        case Dense():
            shape = (layer.units, placed.in_shape[0])
            fans = placed.in_shape[0], layer.units
        case _:
            return ()
    place = placed.where, placed.label
    weight = Parameter(f"{placed.index}.weight", shape, layer.init, *fans, *place)
    bias = Parameter(f"{placed.index}.bias", shape[:1], layer.bias_init, *fans, *place)
    return (weight, bias) if layer.bias else (weight,)


def model_parameters(shapes: list[LayerShape]) -> list[Parameter]:
    """All parameters in checkpoint order: that of PyTorch's state_dict."""
    return [parameter for placed in shapes for parameter in layer_parameters(placed)]


def read_initial(parameter: Parameter) -> NDArray[np.float64] | None:
    """The values of a parameter that starts from a file, as float64; None for the others.

    Raises ModelError where the file cannot be read, or holds another shape or a value that is not finite.
    """
    init = parameter.init
    if not isinstance(init, FromFile):
        return None
    from asmgen.model.tensor_file import read_tensor  # with NumPy, which most models do not need

    try:
        values = read_tensor(init.resolved_path, init.key or parameter.name)
    except DataError as error:
        raise ModelError(init.where, f"{parameter.label}: {error}") from None
    if values.shape != parameter.shape:
        raise ModelError(
            init.where,
            f"{parameter.label}: {init.resolved_path} holds {dims(values.shape) or 'a single number'}, "
            f"but {parameter.name} is {dims(parameter.shape)}",
        )
    if not abs(values).max(initial=0.0) < math.inf:  # so that NaN fails
        raise ModelError(init.where, f"{parameter.label}: {init.resolved_path} holds values that are not finite")
    return values
