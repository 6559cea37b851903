"""The layers a model can list. Each corresponds to one entry of PyTorch's `nn.Sequential`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, overload

from asmgen.model.init import HeUniform, Initializer, Zeros
from asmgen.model.located import Located

Pair = tuple[int, int]

MAX_KERNEL = 11
MAX_STRIDE = 64
MAX_WINDOW = 4096
MAX_WIDTH = 65536  # filters of a convolution, outputs of a dense layer

WEIGHT_INIT = HeUniform()
BIAS_INIT = Zeros()


class PairField:
    """A dataclass field that takes n or (height, width) and reads as (height, width)."""

    def __init__(self, *default: int | None) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Any: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Pair: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is not None:
            return vars(instance)[self._name]
        if not self._default:
            raise AttributeError(self._name)  # tells dataclass that the field has no default
        return self._default[0]

    def __set__(self, instance: object, value: int | Pair | None) -> None:
        # Anything else is stored as it is, for the layer's check to refuse with its line.
        vars(instance)[self._name] = as_pair(value)


@dataclass(frozen=True)
class Layer(Located):
    """Base of all layers. `kind` begins the layer's label in messages and tables: conv1, pool2, ..."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Conv2D(Layer):
    """y[oc] = bias[oc] + sum over c, i, j of x[c, h * stride + i - pad, w * stride + j - pad] * w[oc, c, i, j].

    A cross-correlation, as in PyTorch. `padding`: "valid" (none), "same" (output as large as the input, stride 1 only;
    the odd zero of an even kernel goes to the bottom and the right), or how many zeros on each side: n or a pair.
    `bias_init` uses the fans of the weights.
    """

    kind = "conv"

    filters: int
    kernel: PairField = PairField()
    stride: PairField = PairField(1)
    padding: str | int | Pair = "valid"
    bias: bool = True
    init: Initializer = WEIGHT_INIT
    bias_init: Initializer = BIAS_INIT

    def check(self) -> None:
        self.need_int("filters", 1, MAX_WIDTH)
        self.need_pair("kernel", 1, MAX_KERNEL)
        self.need_pair("stride", 1, MAX_STRIDE)
        self._check_padding()
        check_parameters(self)

    def _check_padding(self) -> None:
        if self.padding == "same":
            if self.stride != (1, 1):
                raise self.error(
                    f'padding="same" needs stride 1, not {size(self.stride)}; say how many zeros, '
                    f"such as padding={spell(tuple((k - 1) // 2 for k in self.kernel))}"
                )
        elif isinstance(self.padding, str):
            if self.padding != "valid":
                raise self.error(f'padding={self.padding!r} must be "same", "valid", a number or a pair')
        else:
            object.__setattr__(self, "padding", as_pair(self.padding))
            self.need_pair("padding", 0, MAX_KERNEL - 1)
            top, left = self.pads[0], self.pads[2]
            if top >= self.kernel[0] or left >= self.kernel[1]:
                raise self.error(
                    f"padding {size((top, left))} must be smaller than the kernel {size(self.kernel)}; "
                    "outputs that see only zeros learn nothing"
                )

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Zeros added (top, bottom, left, right)."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding == "same":
            (kh, kw) = self.kernel
            top, left = (kh - 1) // 2, (kw - 1) // 2
            return top, kh - 1 - top, left, kw - 1 - left
        assert isinstance(self.padding, tuple)
        ph, pw = self.padding
        return ph, ph, pw, pw


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """y = the largest value of each window; on a tie the gradient goes to the first in row-major order.

    No padding; rows and columns that fill no window are dropped, as in PyTorch.
    """

    kind = "pool"

    window: PairField = PairField()
    stride: PairField = PairField(None)  # None: the window

    def check(self) -> None:
        check_window(self)
        ph, pw = self.window
        if ph * pw > 256:
            raise self.error(f"window {size(self.window)} has {ph * pw} values; at most 256 (one byte tells which won)")


@dataclass(frozen=True)
class AvgPool2D(Layer):
    """y = the mean of each window. Windows as in MaxPool2D."""

    kind = "pool"

    window: PairField = PairField()
    stride: PairField = PairField(None)  # None: the window

    def check(self) -> None:
        check_window(self)


@dataclass(frozen=True)
class Flatten(Layer):
    """(c, h, w) becomes c * h * w features, in that order."""

    kind = "flatten"


@dataclass(frozen=True)
class Dense(Layer):
    """y = x W^T + bias, W [units, inputs]."""

    kind = "dense"

    units: int
    bias: bool = True
    init: Initializer = WEIGHT_INIT
    bias_init: Initializer = BIAS_INIT

    def check(self) -> None:
        self.need_int("units", 1, MAX_WIDTH)
        check_parameters(self)


@dataclass(frozen=True)
class Activation(Layer):
    """Base of the layers that map each value alone (Softmax: each sample alone)."""


@dataclass(frozen=True)
class ReLU(Activation):
    """y = max(x, 0); gradient 0 at x = 0, as in PyTorch."""

    kind = "relu"


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x where x > 0, else alpha * x."""

    kind = "leakyrelu"

    alpha: float = 0.01

    def check(self) -> None:
        # The gradient is found from the sign of y, so alpha must not turn it round.
        self.need_number("alpha", 0, 1)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)). Last, before BinaryCrossEntropy, it is part of the loss."""

    kind = "sigmoid"


@dataclass(frozen=True)
class Tanh(Activation):
    """y = tanh(x)."""

    kind = "tanh"


@dataclass(frozen=True)
class Softmax(Activation):
    """y[i] = exp(x[i]) / sum over j of exp(x[j]). Only last, before SoftmaxCrossEntropy, whose part it is."""

    kind = "softmax"


def check_window(layer: MaxPool2D | AvgPool2D) -> None:
    """Fill in the stride and check both pairs. Raises ModelError."""
    layer.need_pair("window", 1, MAX_WINDOW)
    if vars(layer)["stride"] is None:
        object.__setattr__(layer, "stride", layer.window)
    layer.need_pair("stride", 1, MAX_WINDOW)


def check_parameters(layer: Conv2D | Dense) -> None:
    """Check the bias flag and both initialisers. Raises ModelError."""
    layer.need_flag("bias")
    examples = "an initialiser such as HeUniform() or XavierNormal()"
    layer.need_instance("init", Initializer, examples)
    layer.need_instance("bias_init", Initializer, examples)
    if not layer.bias and layer.bias_init != BIAS_INIT:
        raise layer.error("bias_init is given, but bias=False")


def as_pair(value: object) -> object:
    """(n, n) for an int n, a tuple for a list; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def size(pair: Pair) -> str:
    """(3, 5) as "3x5", height first."""
    return f"{pair[0]}x{pair[1]}"


def spell(pair: tuple[int, ...]) -> str:
    """A pair as the shortest argument that means it: (1, 1) as "1", (1, 2) as "(1, 2)"."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)
