"""Random networks: `network(seed)` is a model, the same for the same seed, that any pass must keep the meaning of.

A network is a chain of random layers on random shapes. Where asmgen has layers that join values (`JOINS`), it is a
graph: values are used several times, branches are joined, and images are flattened more than once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random

import asmgen
from asmgen import (
    SGD,
    Adam,
    AdamW,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Model,
    Momentum,
    Nesterov,
)
from asmgen.errors import ModelError
from asmgen.ops.activations import ACTIVATIONS
from asmgen.ops.base import Layer, Shape, Site
from asmgen.ops.losses import BinaryCrossEntropy, Huber, Loss, MeanAbsoluteError, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.ops.optimizers import Optimizer
from asmgen.ops.scale import Scale
from asmgen.ops.sigmoid import Sigmoid
from asmgen.ops.silu import SiLU
from asmgen.ops.softmax import Softmax
from asmgen.ops.symbol import Input, Symbol
from asmgen.ops.tanh import Tanh

#: Layers that join values: those of these names that asmgen has.
JOINS: dict[str, type[Layer]] = {name: getattr(asmgen, name) for name in ("Add", "Concat") if hasattr(asmgen, name)}
#: Pools over whole images, and blocks with a shortcut, likewise.
GLOBAL_POOLS = [getattr(asmgen, name) for name in ("GlobalAvgPool2D", "GlobalAvgPool") if hasattr(asmgen, name)]
RESIDUAL = getattr(asmgen, "Residual", None)

_MOST_VALUES = 3000  # of a sample, in one tensor
_MOST_WEIGHTS = 12000  # of a layer
_SITE = Site("layer", "random_networks.py")


@dataclass
class _Drawing:
    """A network being drawn: layers with the values they read; value 0 is the input, value i + 1 what layer i makes."""

    rng: Random
    shapes: list[Shape]
    layers: list[tuple[Layer, tuple[int, ...]]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.shapes) - 1

    def add(self, layer: Layer, *inputs: int) -> int | None:
        """The value that the layer makes; None, and nothing added, where it does not fit or gets too large."""
        try:
            shape = layer.out_shapes(_SITE, *(self.shapes[i] for i in inputs))[0]
            sizes = [math.prod(each.shape) for each in layer.parameters(_SITE, *(self.shapes[i] for i in inputs))]
        except ModelError:
            return None
        if math.prod(shape) > _MOST_VALUES or sum(sizes) > _MOST_WEIGHTS:
            return None
        self.layers.append((layer, inputs))
        self.shapes.append(shape)
        return self.last

    def is_image(self, value: int) -> bool:
        return len(self.shapes[value]) == 3

    # layers --------------------------------------------------------------------------------------------------------

    def pair(self, *choices: int) -> int | tuple[int, int]:
        """n or (height, width)."""
        rng = self.rng
        return rng.choice(choices) if rng.random() < 0.6 else (rng.choice(choices), rng.choice(choices))

    def conv(self, filters: int | None = None) -> Conv2D:
        rng = self.rng
        kernel = 3 if rng.random() < 0.45 else self.pair(1, 1, 2, 3, 4, 5, 7)
        stride = 1 if rng.random() < 0.7 else self.pair(1, 2, 3)
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding: str | int | tuple[int, ...] = "valid"
        draw = rng.random()
        if draw < 0.4 and stride == 1 and all(side % 2 for side in sides):
            padding = "same"
        elif draw < 0.45 and stride == 1:
            padding = "same"  # of an even kernel: uneven
        elif draw < 0.55:
            padding = "tf_same"
        elif draw < 0.6:
            padding = tuple(rng.randrange(3) for _ in range(4))
        elif draw < 0.75:
            padding = (rng.randrange(sides[0]), rng.randrange(sides[1]))
        filters = filters or rng.choice((1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 20))
        return Conv2D(filters, kernel, stride=stride, padding=padding, bias=rng.random() < 0.8)

    def pool(self) -> MaxPool2D | AvgPool2D:
        rng = self.rng
        kind = rng.choice((MaxPool2D, MaxPool2D, AvgPool2D))
        window = self.pair(1, 2, 2, 3, 4, 6) if rng.random() < 0.7 else 2
        return kind(window) if rng.random() < 0.5 else kind(window, self.pair(1, 2, 3, 4))

    def activation(self) -> Layer:
        kind = ACTIVATIONS[self.rng.choice(sorted(ACTIVATIONS))]
        # A scale that shrinks values leaves normalisations next to no variance.
        numbers = (-1.5, 0.5, 2.0) if kind is Scale else (0.01, 0.1, 0.25)
        return kind.of_parameter(self.rng.choice(numbers))

    # parts ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One more layer, or a few that end in one value, behind the last value."""
        x, draw = self.last, self.rng.random()
        if x == 0 and self.rng.random() < 0.5:
            self.add(self.conv(), x)
        elif JOINS and draw < 0.35:
            self.branches(x) if draw < 0.2 else self.skip(x)
        elif draw < 0.55:
            self.activation_or_not(x)
        elif draw < 0.62:
            self.normed(x)
        elif not self.is_image(x):
            self.add(Dense(self.units(), bias=self.rng.random() < 0.8), x)
        elif draw < 0.78:
            self.add(self.pool(), x)
        elif GLOBAL_POOLS and draw < 0.8:
            self.add(self.rng.choice(GLOBAL_POOLS)(), x)
        elif RESIDUAL and draw < 0.85:
            self.residual(x)
        else:
            self.add(self.conv(), x)

    def activation_or_not(self, x: int) -> int:
        if self.rng.random() < 0.08:
            return self.add(Dropout(self.rng.choice((0.1, 0.3, 0.5))), x) or x
        return (self.add(self.activation(), x) or x) if self.rng.random() < 0.9 else x

    def normed(self, x: int) -> None:
        """A smooth activation, a product without a bias, the normalisation, an activation.

        Gradients that are zero but for rounding have no norm to compare with: those of a shift, with nothing but linear
        layers up to a normalisation, which takes it out again; of the scale of a channel alone.
        """
        rng = self.rng
        if x:
            x = self.add(rng.choice((Tanh(), Sigmoid(), SiLU())), x) or x
        product: Layer = Dense(rng.choice((2, 3, 8, 17)), bias=False)
        if self.is_image(x):
            product = replace(self.conv(rng.choice((2, 3, 8, 17))), bias=False)
        z = self.add(product, x)
        if z is None:
            return
        flags = {"scale": rng.random() < 0.8, "bias": rng.random() < 0.8}
        # A few numbers that are nearly equal have next to no variance, which magnifies their rounding.
        eps = rng.choice((1e-5, 1e-2)) if self.is_image(z) else rng.choice((1e-2, 1e-1))
        norm = BatchNorm(momentum=rng.choice((0.1, 0.5, None)), eps=eps, **flags)
        y = self.add(norm, z)
        assert y is not None
        self.add(self.activation(), y)

    def units(self) -> int:
        return self.rng.choice((1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33))

    def branches(self, x: int) -> None:
        """Two or three ways from one value, joined."""
        n, begin = self.rng.choice((2, 2, 3)), len(self.layers)
        if not self.is_image(x):
            ends = [self.add(Dense(self.units()), x) for _ in range(n)]
        else:
            conv = self.conv()  # one geometry, so that the branches can be joined
            ends = []
            for _ in range(n):
                filters = conv.filters if self.rng.random() < 0.6 else self.rng.choice((1, 3, 8, 17))
                other = Conv2D(filters, conv.kernel, stride=conv.stride, padding=conv.padding, bias=conv.bias)
                ends.append(self.add(other, x))
        found = [self.activation_or_not(end) for end in ends if end is not None]
        if len(found) < 2 or self.join(found) is None:
            del self.layers[begin:], self.shapes[begin + 1 :]

    def skip(self, x: int) -> None:
        """The last value joined with earlier ones, or with itself."""
        others = [value for value in range(x + 1) if value != x or self.rng.random() < 0.1]
        images = [value for value in others if self.is_image(value)]
        if images and self.rng.random() < (0.3 if self.is_image(x) else 0.6):
            self.join_flattened(x, self.rng.choice(images))
            return
        self.rng.shuffle(others)
        for other in others:
            values = [x, other] if self.rng.random() < 0.5 else [other, x]
            if self.join(values) is not None:
                return

    def join_flattened(self, x: int, image: int) -> None:
        """A vector, or an image, joined with an image that is flattened once more.

        As they are, or with a dense layer of the other's size behind one of them: then they can be added.
        """
        rng, begin = self.rng, len(self.layers)
        ends = [self.add(Flatten(), x) if self.is_image(x) else x, self.add(Flatten(), image)]
        rng.shuffle(ends)
        found = [self.activation_or_not(end) if rng.random() < 0.3 else end for end in ends if end]
        if len(found) == 2 and rng.random() < 0.7:
            units = self.shapes[found[0]][0]
            found[1] = self.add(Dense(units), found[1]) or found[1]
        if len(found) < 2 or self.join(found) is None:
            del self.layers[begin:], self.shapes[begin + 1 :]

    def join(self, values: list[int]) -> int | None:
        """What a join that fits makes of the values; None where none does."""
        for name in self.rng.sample(sorted(JOINS), len(JOINS)):
            made = self.add(JOINS[name](), *values)
            if made is not None:
                return made
        return None

    def residual(self, x: int) -> None:
        """A block with a shortcut, as lists of layers have it."""
        assert RESIDUAL is not None
        c = self.shapes[x][0]
        body: list[Layer] = [Conv2D(c, 3, padding=1), self.activation(), Conv2D(c, 3, padding="same")]
        if self.rng.random() < 0.5:
            self.add(RESIDUAL(body), x)
            return
        filters = self.rng.choice((2, 8, 17))
        body = [Conv2D(filters, 3, stride=2, padding=1), self.activation()]
        self.add(RESIDUAL(body, shortcut=[Conv2D(filters, 1, stride=2)]), x)

    # the end -------------------------------------------------------------------------------------------------------

    def end(self, loss: Loss) -> None:
        """From the last value to what the loss takes."""
        rng = self.rng
        if self.is_image(self.last) and self.add(Flatten(), self.last) is None:
            raise _DoesNotFit
        (features,) = self.shapes[self.last]
        has_parameters = any(isinstance(layer, Conv2D | Dense) for layer, _ in self.layers)
        if not has_parameters or not loss.least_outputs <= features <= 32 or rng.random() < 0.8:
            outputs = rng.choice((1, 2, 3, 5, 10)) if loss.least_outputs == 1 else rng.choice((2, 3, 4, 10, 17))
            if self.add(Dense(outputs, bias=rng.random() < 0.8), self.last) is None:
                raise _DoesNotFit
        draw = rng.random()
        if draw < 0.3:
            self.add(Softmax() if isinstance(loss, SoftmaxCrossEntropy) else Sigmoid(), self.last)
        elif draw < 0.45:
            self.add(self.activation(), self.last)


LOSSES = (
    SoftmaxCrossEntropy(),
    SoftmaxCrossEntropy(label_smoothing=0.2),
    BinaryCrossEntropy(),
    MeanSquaredError(),
    MeanAbsoluteError(),
    Huber(0.5),
)
#: Equal slopes of all samples cancel in a normalisation's gradients: nothing is left but rounding.
CONSTANT_SLOPES = (MeanAbsoluteError, Huber)


class _DoesNotFit(Exception):
    """The drawing became too large; the next one is taken."""


def network(seed: int) -> Model:
    """The network of a seed. Its dtype is float32 for even seeds, else float64."""
    rng = Random(seed)
    while True:
        sides = (rng.randrange(3, 14), rng.randrange(3, 14))
        drawing = _Drawing(rng, [(rng.randrange(1, 6), *sides)])
        loss = rng.choice(LOSSES)
        for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6, 7))):
            drawing.step()
        if drawing.is_image(drawing.last) and rng.random() < 0.7 and drawing.add(Flatten(), drawing.last):
            for _ in range(rng.randrange(4)):
                drawing.step()
        try:
            drawing.end(loss)
        except _DoesNotFit:
            continue
        if isinstance(loss, CONSTANT_SLOPES) and _has_norms(drawing):
            continue
        return _model(seed, rng, drawing, loss)


def _has_norms(drawing: _Drawing) -> bool:
    return any(isinstance(layer, BatchNorm) for layer, _ in drawing.layers)


def _model(seed: int, rng: Random, drawing: _Drawing, loss: Loss) -> Model:
    shape = drawing.shapes[0]
    has_norms = _has_norms(drawing)
    settings = {
        "name": f"net{seed}",
        "loss": loss,
        "optimizer": _optimizer(rng),
        "batch_size": rng.choice((3, 5, 6, 7) if has_norms else (1, 2, 3, 5, 6, 7)),
        "dtype": "float32" if seed % 2 == 0 else "float64",
        "data": Dataset(
            "none",
            scale=1 / 128,
            mean=tuple(rng.uniform(0.5, 1.5) for _ in range(shape[0])),
            std=tuple(rng.uniform(0.4, 0.8) for _ in range(shape[0])),
        ),
    }
    is_chain = all(inputs == (index,) for index, (_, inputs) in enumerate(drawing.layers))
    if is_chain and rng.random() < 0.6:
        return Model(input=shape, layers=[layer for layer, _ in drawing.layers], **settings)
    symbols: list[Symbol] = [Input(*shape)]
    for layer, inputs in drawing.layers:
        symbols.append(layer(*(symbols[value] for value in inputs)))
    return Model(input=symbols[0], output=symbols[-1], **settings)


def _optimizer(rng: Random) -> Optimizer:
    decay = rng.choice((0.0, 0.01))
    return rng.choice(
        (
            SGD(0.005, weight_decay=decay),
            Momentum(0.005, 0.8, weight_decay=decay),
            Nesterov(0.005, 0.8, weight_decay=decay),
            # An eps that a gradient's rounding does not rival.
            Adam(0.002, 0.8, 0.95, 1e-3, weight_decay=decay),
            AdamW(0.002, 0.8, 0.95, 1e-3, weight_decay=decay),
        )
    )
