"""Lists of layers as PyTorch modules. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from asmgen.ops.base import Layer, Shape, Site


def sequential(layers: Iterable[Layer], x: Shape) -> nn.Sequential:
    """nn.Sequential of the layers: one layer, one module, so that its indices are the list's. x: the input's shape."""
    modules = []
    for layer in layers:
        modules.append(layer.torch(x))
        (x, *_) = layer.out_shapes(Site(layer.kind, layer.where), x)
    return nn.Sequential(*modules)
