"""Lists of layers inside a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asmgen.ops.base import Layer, Shape, Site


def layer_tuple(owner: Layer, name: str, layers: Any) -> tuple[Layer, ...]:
    """The layers of a field. Raises ModelError where it is no list of layers."""
    if not isinstance(layers, (list, tuple)):
        raise owner.error(f"{name}={layers!r} must be a list of layers")
    for index, layer in enumerate(layers):
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise owner.error(f"{name}[{index}] is the class {layer.__name__}; write {layer.__name__}()")
        if not isinstance(layer, Layer):
            raise owner.error(f"{name}[{index}]={layer!r} is not a layer")
    return tuple(layers)


def shape_behind(layers: Iterable[Layer], x: Shape) -> Shape:
    """The shape that layers make of x, one behind the other. Raises ModelError where one does not fit."""
    for layer in layers:
        x = layer.out_shapes(Site(layer.kind, layer.where), x)[0]
    return x
