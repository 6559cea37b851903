"""Models written as calls: `x = Input(3, 32, 32); y = Conv2D(16, 3)(x)`. A symbol is a value not computed yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asmgen.ops.base import Layer
from asmgen.ops.located import Located


@dataclass(frozen=True, eq=False)
class Symbol(Located):
    """The output of a layer's call, or an input. Two symbols are the same only where they are one object."""

    layer: Layer | None = None
    inputs: tuple[Symbol, ...] = ()

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __add__(self, other: Any) -> Symbol:
        """`a + b` is `Add()(a, b)`."""
        from asmgen.ops.add import Add

        return call(Add(), (self, other))

    def source(self) -> Symbol:
        """The first Input that it comes from."""
        symbol = self
        while symbol.inputs:
            symbol = symbol.inputs[0]
        return symbol


@dataclass(frozen=True, eq=False, init=False)
class Input(Symbol):
    """The images that a network starts from: `Input(3, 32, 32)`, channels, height, width."""

    shape: tuple[int, ...] = ()

    def __init__(self, *shape: int) -> None:
        for name, value in (("where", ""), ("layer", None), ("inputs", ()), ("shape", shape)):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def check(self) -> None:
        if len(self.shape) != 3 or any(isinstance(n, bool) or not isinstance(n, int) for n in self.shape):
            raise self.error(f"{self.shape} must be three whole numbers: channels, height, width")


def call(layer: Layer, inputs: Sequence[Any]) -> Symbol:
    """The symbol of `layer(*inputs)`. Raises ModelError where an input is no symbol, or there are too few or many."""
    for value in inputs:
        if not isinstance(value, Symbol):
            raise layer.error(f"called on {value!r}; call it on Input(...) or on what another layer's call returned")
    wanted = layer.takes()
    if wanted is None and len(inputs) < 2:
        raise layer.error(f"joins two or more values, not {len(inputs)}")
    if wanted is not None and len(inputs) != wanted:
        raise layer.error(f"takes {wanted} value{'s' * (wanted > 1)}, not {len(inputs)}")
    return Symbol(layer=layer, inputs=tuple(inputs))
