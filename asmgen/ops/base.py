"""What all ops share: `Op`, and `Layer`, the op that a model file lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from asmgen.errors import ModelError
from asmgen.ops.init import Initializer
from asmgen.ops.located import Located, caller

if TYPE_CHECKING:
    from torch import nn

    from asmgen.ops.numeric import Array
    from asmgen.ops.rules import Gradients

Shape = tuple[int, ...]  # of one sample: (c, h, w) of an image, (features,) of a vector
Pair = tuple[int, int]

#: What a value of a graph is. "images": the u8 images of the data set; "state": what an optimizer keeps of a parameter.
#: "statistics": of a batch, one number a channel; "buffer": what a layer keeps from step to step beside its parameters.
Role = Literal[
    "images",
    "labels",
    "activation",
    "statistics",
    "codes",
    "parameter",
    "buffer",
    "gradient",
    "parameter gradient",
    "state",
    "loss",
    "hyper",
]

# Offsets inside one tensor of one sample, and inside one layer's weights, stay within 31 bits, pad lanes included.
MAX_SAMPLE_VALUES = 2**26
MAX_WEIGHTS = 2**27


@dataclass(frozen=True)
class Parameter:
    """A trained tensor: `name` as in PyTorch's state_dict ("0.weight"), `shape` likewise; fans as PyTorch counts them.

    A bias has the fans of its layer's weights. `where` and `label` are the layer's.
    """

    name: str
    shape: Shape
    init: Initializer
    fan_in: int
    fan_out: int
    where: str
    label: str


@dataclass(frozen=True)
class Buffer:
    """A tensor that a layer keeps from step to step and does not train: `name` and `shape` as in PyTorch's state_dict.

    initial: every element's first value. is_count: a whole number of 64 bits, whatever the model's dtype.
    """

    name: str
    shape: Shape
    initial: float
    where: str
    label: str
    is_count: bool = False


@dataclass(frozen=True)
class Site:
    """Where an op stands in a model: its label ("conv2": the second convolution), `file:line`, the prefix of its
    parameters' names ("3.body.0"), and whether the images it reads come from a pool."""

    label: str
    where: str
    prefix: str = ""
    behind_pool: bool = False

    def error(self, message: str) -> ModelError:
        """`file:line: conv2: message`."""
        return ModelError(self.where, f"{self.label}: {message}")

    def above(self, value: int, limit: int, what: str) -> None:
        """Raise ModelError where `value` is above `limit`."""
        if value > limit:
            raise self.error(f"{value} {what}; at most {limit}")


@dataclass(frozen=True)
class Op:
    """A function of values. Frozen, comparable and printable.

    An op is pure: the same inputs give the same outputs, and it changes none of them.
    """

    #: Begins the labels of its nodes: conv1, pool2, ...
    kind: ClassVar[str]
    #: Names of the outputs behind the first, which has the node's own: ("codes",) makes `pool1.codes`.
    more_outputs: ClassVar[tuple[tuple[str, Role], ...]] = ()
    #: The role of the first output.
    role: ClassVar[Role] = "activation"

    def __str__(self) -> str:
        return self.kind

    @property
    def inner(self) -> tuple[Any, ...]:
        """The nodes that it consists of, where it is more than one op."""
        return ()

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of all outputs. Raises ModelError at the site where the inputs do not fit."""
        raise NotImplementedError

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        """All outputs in NumPy float64; activations have the samples in front: [n, c, h, w], [n, features]."""
        raise NotImplementedError

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        """Adds the nodes of its gradients to a graph; the value of each input's gradient, None where it has none."""
        raise NotImplementedError(f"{type(self).__name__} has no rule for its gradient")


class Tracer(Protocol):
    """What walks the layers of a model (asmgen/model/trace.py)."""

    def layer(self, layer: Layer, inputs: Sequence[str], path: str | None, written: Layer | None = None) -> str:
        """The value that a layer makes. written: the model file's layer, where this one stands for it."""
        ...

    def sequence(self, layers: Iterable[Layer], x: str, path: str = "") -> str:
        """The value that layers one behind the other make of x."""
        ...

    def label(self, layer: Layer) -> str:
        """What a layer is called: its name, or its kind and number."""
        ...

    def shape(self, value: str) -> Shape:
        """Of a value."""
        ...

    def count(self, kind: str) -> int:
        """Layers of a kind so far."""
        ...


@dataclass(frozen=True)
class Layer(Op, Located):
    """An op that a model file lists, in PyTorch's semantics. Called on a symbol, it makes the next one.

    `name` begins the names of its parameters where the model is written with calls ("stem" makes `stem.weight`).
    """

    name: str | None = field(default=None, kw_only=True, repr=False)

    def __new__(cls, *arguments: Any, **settings: Any) -> Layer:
        from asmgen.ops.symbol import Symbol

        if any(isinstance(argument, Symbol) for argument in arguments):
            raise ModelError(caller(), f"{cls.__name__}: makes a layer first, then calls it: {cls.__name__}(...)(x)")
        return super().__new__(cls)

    #: How many values it joins; None: any number of at least two.
    arity: ClassVar[int | None] = 1
    #: Whether it is a convolution or a pool: what advice about windows that do not fit speaks of.
    slides: ClassVar[bool] = False
    #: Whether it needs to know how many samples of the batch are there: its last input.
    reads_present: ClassVar[bool] = False
    #: Whether it draws random numbers: its last input is then the seed and the step's number.
    reads_random: ClassVar[bool] = False

    def parameters(self, site: Site, *inputs: Shape) -> tuple[Parameter, ...]:
        """Its parameters, in the order of PyTorch's state_dict; they are its inputs behind the activations."""
        return ()

    def buffers(self, site: Site, *inputs: Shape) -> tuple[Buffer, ...]:
        """What it keeps from step to step, in the order of PyTorch's state_dict, where it stands behind parameters."""
        return ()

    def next_buffers(self, *inputs: Shape) -> Op:
        """Makes the next step's buffers of its further outputs, `present` and the buffers; of layers that have some."""
        raise NotImplementedError

    def torch(self, *inputs: Shape) -> nn.Module:
        """The PyTorch module that computes the same, with parameters of the same names."""
        raise NotImplementedError

    def takes(self) -> int | None:
        """How many values it is called on; None: two or more."""
        return self.arity

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        """The value that it makes of x in a list of layers; `path` begins the names of its parameters."""
        if self.arity != 1:
            raise self.error(
                f"joins several values, so it cannot stand in a list; call it: {type(self).__name__}()(a, b)"
            )
        return tracer.layer(self, (x,), path)

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        """The value that it makes where it is called; its label begins the names of its parameters."""
        return tracer.layer(self, inputs, None)

    def __call__(self, *inputs: Any) -> Any:
        """The symbol of its output, for models that are written as calls: `y = ReLU()(x)`."""
        from asmgen.ops.symbol import call

        return call(self, inputs)


@dataclass(frozen=True)
class Elementwise(Layer):
    """A layer that maps each value alone, y = f(x): activations.

    A subclass tells `f` and `slope`, both in NumPy, and the facts that planners ask for. asmgen/ops/activations.py
    lists all of them.
    """

    #: f(0) = 0: pad lanes and halos stay zero by themselves; elsewhere they are masked.
    maps_zero_to_zero: ClassVar[bool]
    #: x <= x' means f(x) <= f(x'): f(max x) = max f(x).
    is_monotone: ClassVar[bool]
    #: Whether f'(x) is found from the input "x" or from the output "y": the gradient keeps that one.
    slope_from: ClassVar[Literal["x", "y"]]
    #: Kernels of products apply f before they store y, with no register but that of x and a spare one. Its slope is at
    #: most 1 in absolute value, so that it does not magnify the errors of x.
    is_fusible: ClassVar[bool] = False
    #: f' is 1 where y > 0 and `parameter` elsewhere, which live bits and Conv2dUnpool can tell.
    is_gate: ClassVar[bool] = False
    #: What kernels call it, and the tag of their symbols; {alpha} stands for `parameter`.
    symbol: ClassVar[str]
    tag: ClassVar[str]

    @property
    def parameter(self) -> float:
        """The number that the function depends on, 0 where there is none."""
        return 0.0

    @classmethod
    def of_parameter(cls, value: float) -> Elementwise:
        """The layer whose `parameter` this is."""
        return cls()

    def f(self, x: Array) -> Array:
        """f(x)."""
        raise NotImplementedError

    def slope(self, saved: Array) -> Array:
        """f'(x), seen from what `slope_from` says."""
        raise NotImplementedError

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (self.f(inputs[0]),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        saved = rules.inputs[0] if self.slope_from == "x" else rules.outputs[0]
        return [rules.add(ElementwiseGradient(self), rules.grads[0], saved)]


@dataclass(frozen=True)
class ElementwiseGradient(Op):
    """dx = dy * f'(x), f' seen from x or y. Inputs: dy, what was saved."""

    kind = "d"
    role = "gradient"

    of: Elementwise

    def __str__(self) -> str:
        return f"d_{self.of}"

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, saved = inputs
        return (dy * self.of.slope(saved),)


def dims(shape: Shape) -> str:
    """(3, 32, 32) as "3x32x32"."""
    return "x".join(map(str, shape))


def spatial(site: Site, shape: Shape) -> tuple[int, int, int]:
    """c, h, w of an image. Raises ModelError for a vector."""
    if len(shape) != 3:
        raise site.error(f"its input is a vector of {shape[0]}; put it before Flatten() and the dense layers")
    c, h, w = shape
    return c, h, w


def bounded(site: Site, shape: Shape) -> Shape:
    """`shape`. Raises ModelError where it has too many values."""
    site.above(math.prod(shape), MAX_SAMPLE_VALUES, "output values per sample")
    return shape
