"""Dropout (Srivastava et al., 2014), with a mask that every target draws alike.

Whether a value stays depends on the seed, the step, the layer and the value's place in the batch: word w % 4 of
Philox with key = seed and counter = ((h * ceil(width / 4) + w // 4) * C + c, sample, 0x20000 + layer, step). The upper
23 bits u of the word decide: it stays where u >= p 2^23. A vector has h = w = 0, layers count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from asmgen.ops.base import Layer, Op, Shape, Site, Tracer
from asmgen.ops.numeric import Array, np
from asmgen.ops.philox import philox
from asmgen.ops.rules import Gradients

if TYPE_CHECKING:
    from torch import nn

STREAM = 0x20000
BITS = 23


@dataclass(frozen=True)
class Dropout(Layer):
    """y = x / (1 - p) with probability 1 - p, else 0, each value alone; in evaluation and inference y = x."""

    kind = "dropout"
    reads_random = True

    p: float = 0.5
    number: int = field(default=0, kw_only=True, repr=False)  # among the dropouts of the network, from 0

    def check(self) -> None:
        self.need_number("p", 0.0, 1.0, below=True)

    def trace(self, tracer: Tracer, x: str, path: str) -> str:
        return tracer.layer(self._numbered(tracer), (x,), path)

    def trace_call(self, tracer: Tracer, inputs: tuple[str, ...]) -> str:
        return tracer.layer(self._numbered(tracer), inputs, None)

    def _numbered(self, tracer: Tracer) -> Dropout:
        return replace(self, number=tracer.count(self.kind))

    @property
    def least(self) -> int:
        """The smallest u that stays."""
        return round(self.p * (1 << BITS))

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def mask(self, shape: tuple[int, ...], seed: int, step: int) -> Array:
        """What [n, c, h, w] or [n, c] is multiplied by: 1 / (1 - p) or 0."""
        n, c, h, w = shape if len(shape) == 4 else (*shape, 1, 1)
        sample, channel, row, column = np.ogrid[:n, :c, :h, :w]
        block = (row * -(-w // 4) + column // 4) * c + channel
        words = philox(seed, block, np.broadcast_to(sample, (n, c, h, w)), STREAM + self.number, step)
        drawn = np.take_along_axis(words, np.broadcast_to(column % 4, (n, c, h, w))[..., None], -1)[..., 0]
        stays: Array = ((drawn >> np.uint32(32 - BITS)) >= self.least) / (1 - self.p)
        return stays.reshape(shape)

    def forward(self, *inputs: Array) -> tuple[Array]:
        x, (seed, step) = inputs
        return (x * self.mask(x.shape, int(seed), int(step)),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(DropoutGradient(self), rules.grads[0], rules.inputs[1]), None]

    def torch(self, *inputs: Shape) -> nn.Module:
        from asmgen.ops.torch import DrawnDropout

        return DrawnDropout(self)


@dataclass(frozen=True)
class DropoutGradient(Op):
    """dx = dy times forward's mask, which is drawn again. Inputs: dy, (seed, step)."""

    kind = "dropout_dx"
    role = "gradient"

    of: Dropout

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, random = inputs
        return self.of.forward(dy, random)
