"""The model: what a model file defines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asmgen.errors import ModelError
from asmgen.model.dataset import Dataset
from asmgen.ops.base import Layer
from asmgen.ops.located import Located
from asmgen.ops.losses import Loss
from asmgen.ops.optimizers import Optimizer
from asmgen.ops.symbol import Input, Symbol

DTYPES = ("float32", "float64")
MAX_CHANNELS = 4096
MAX_SIDE = 8192


@dataclass(frozen=True)
class Model(Located):
    """A network and how to train it.

    The network is a list, `input=(channels, height, width), layers=[...]`, or calls from an Input to an output:
    `x = Input(3, 32, 32); y = Conv2D(16, 3)(x); ...; Model(input=x, output=y, ...)`. `precise=True` asks for the
    accurate form of every operation where a target has a faster, rougher one.
    """

    name: str
    input: tuple[int, int, int]  # or the Input that the calls begin with
    layers: Sequence[Layer] = ()
    loss: Loss = None  # type: ignore[assignment]  # checked, as is what follows
    optimizer: Optimizer = None  # type: ignore[assignment]
    data: Dataset = None  # type: ignore[assignment]
    output: Symbol | None = None
    batch_size: int = 32
    epochs: int = 10
    dtype: str = "float32"
    seed: int = 1
    precise: bool = False

    def check(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", self.name):
            raise self.error(f"name={self.name!r} must be 1 to 64 letters, digits and '_', not beginning with a digit")
        self._check_input()
        self._check_layers()
        self.need_instance("loss", Loss, "a loss such as SoftmaxCrossEntropy()")
        self.need_instance("optimizer", Optimizer, "an optimizer such as SGD(lr=0.01)")
        self.need_instance("data", Dataset, 'a data set such as Dataset("mnist")')
        self.need_int("batch_size", 1, 65536)
        self.need_int("epochs", 1, 1_000_000)
        self.need_int("seed", 0, 2**64 - 1)
        self.need_flag("precise")
        if self.dtype not in DTYPES:
            raise self.error(f'dtype={self.dtype!r} must be "float32" or "float64"')

    def _check_input(self) -> None:
        given: Any = self.input
        if isinstance(given, Input) and isinstance(self.output, Symbol) and self.output.source() is not given:
            raise self.error("output= does not come from the Input that input= is")
        shape = given.shape if isinstance(given, Input) else tuple(given) if isinstance(given, list) else given
        is_shape = isinstance(shape, tuple) and len(shape) == 3
        if not is_shape or any(isinstance(n, bool) or not isinstance(n, int) for n in shape):
            raise self.error(f"input={self.input!r} must be (channels, height, width)")
        limits = ("channels", MAX_CHANNELS), ("height", MAX_SIDE), ("width", MAX_SIDE)
        for value, (what, limit) in zip(shape, limits, strict=True):
            if not 1 <= value <= limit:
                raise self.error(f"input={shape}: {what} {value} must lie in 1..{limit}")
        object.__setattr__(self, "input", shape)

    def _check_layers(self) -> None:
        if self.output is not None:
            if self.layers:
                raise self.error("has layers= and output=; a network is a list or calls, not both")
            if not isinstance(self.output, Symbol):
                raise self.error(f"output={self.output!r} must be what a layer's call returned")
            return
        if not isinstance(self.layers, (list, tuple)) or not self.layers:
            raise self.error("layers must be a list with at least one layer")
        for index, layer in enumerate(self.layers):
            if isinstance(layer, type) and issubclass(layer, Layer):
                raise self.error(f"layers[{index}] is the class {layer.__name__}; write {layer.__name__}()")
            if isinstance(layer, (list, tuple)):
                raise self.error(f"layers[{index}] is a list; put * before it to list its layers here")
            if not isinstance(layer, Layer):
                raise self.error(f"layers[{index}]={layer!r} is not a layer")
        object.__setattr__(self, "layers", tuple(self.layers))

    def error(self, message: str) -> ModelError:
        """The ModelError for the model as a whole, which it names."""
        return ModelError(self.where, f"model {self.name}: {message}" if isinstance(self.name, str) else message)
