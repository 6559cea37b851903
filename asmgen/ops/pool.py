"""Max and average pools, their gradients, and an average pool with the ReLU before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asmgen.ops.base import Elementwise, Layer, Op, Pair, Shape, Site, bounded
from asmgen.ops.numeric import Array, np
from asmgen.ops.pair import PairField, size
from asmgen.ops.rules import Gradients
from asmgen.ops.windows import patches, scatter, windows

if TYPE_CHECKING:
    from torch import nn

MAX_WINDOW = 4096
MAX_CODES = 256  # positions of a max pool's window: codes are u8
_NO_PADS = 0, 0, 0, 0


@dataclass(frozen=True)
class Pool(Layer):
    """Base of the pools. No padding; rows and columns that fill no window are dropped, as in PyTorch."""

    kind = "pool"
    slides = True

    window: PairField = PairField()
    stride: PairField = PairField(None)  # None: the window

    def check(self) -> None:
        self.need_pair("window", 1, MAX_WINDOW)
        if vars(self)["stride"] is None:
            object.__setattr__(self, "stride", self.window)
        self.need_pair("stride", 1, MAX_WINDOW)

    @property
    def geometry(self) -> tuple[Pair, Pair]:
        """Window and stride."""
        return self.window, self.stride

    @property
    def is_tiling(self) -> bool:
        """Windows touch without overlapping."""
        return self.window == self.stride

    @property
    def n_positions(self) -> int:
        """Values of a window."""
        return self.window[0] * self.window[1]

    def out_shape(self, site: Site, x: Shape) -> Shape:
        out = windows(site, "window", x, self.window, self.stride, _NO_PADS)
        return bounded(site, (x[0], *out))

    def spread(self, values: Array, shape: Shape) -> Array:
        """[n, c, oh, ow, ph * pw] added up into the images that the windows came from."""
        return scatter(values.reshape(*values.shape[:4], *self.window), self.stride, _NO_PADS, *shape[1:])

    def seen(self, x: Array) -> Array:
        """[n, c, h, w] -> [n, c, oh, ow, ph * pw], positions in row-major order."""
        view = patches(x, self.window, self.stride)
        return view.reshape(*view.shape[:4], self.n_positions)


@dataclass(frozen=True)
class MaxPool2D(Pool):
    """y = the largest value of each window; on a tie the gradient goes to the first in row-major order.

    No padding; rows and columns that fill no window are dropped, as in PyTorch. Its codes are u8, the position that
    won, r * pw + s.
    """

    more_outputs = (("codes", "codes"),)

    def check(self) -> None:
        super().check()
        if self.n_positions > MAX_CODES:
            (window, _) = self.geometry
            values = f"{self.n_positions} values; at most {MAX_CODES} (one byte tells which won)"
            raise self.error(f"window {size(window)} has {values}")

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        out = self.out_shape(site, inputs[0])
        return out, out

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        seen = self.seen(inputs[0])
        return seen.max(-1), seen.argmax(-1)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        shape = rules.shape(rules.inputs[0])
        return [rules.add(MaxPoolGradient(self, shape), rules.grads[0], rules.outputs[1])]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.MaxPool2d(self.window, self.stride)


@dataclass(frozen=True)
class AvgPool2D(Pool):
    """y = the mean of each window. Windows as in MaxPool2D."""

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.out_shape(site, inputs[0]),)

    def forward(self, *inputs: Array) -> tuple[Array]:
        return (self.seen(inputs[0]).mean(-1),)

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        return [rules.add(AvgPoolGradient(self, rules.shape(rules.inputs[0])), rules.grads[0])]

    def torch(self, *inputs: Shape) -> nn.Module:
        from torch import nn

        return nn.AvgPool2d(self.window, self.stride)


@dataclass(frozen=True)
class MaxPoolGradient(Op):
    """dx: every dy at the position that its code names; where windows overlap they add up. Inputs: dy, codes."""

    kind = "pool_dx"
    role = "gradient"

    of: MaxPool2D
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, codes = inputs
        chosen = codes[..., None] == np.arange(self.of.n_positions)
        return (self.of.spread(dy[..., None] * chosen, self.x),)


@dataclass(frozen=True)
class AvgPoolGradient(Op):
    """dx = dy / (ph * pw) at every position of a window; where windows overlap they add up. Input: dy."""

    kind = "pool_dx"
    role = "gradient"

    of: AvgPool2D
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        each = inputs[0] / self.of.n_positions
        return (self.of.spread(np.repeat(each[..., None], self.of.n_positions, -1), self.x),)


@dataclass(frozen=True)
class ActivatedAvgPool(Op):
    """y = the mean of each window of f(x); its codes are u8, bit r * pw + s set where x > 0. f: ReLU or leaky ReLU.

    Made of both layers where f(x) has no other use: it is then never stored, and f' is found from the bits.
    """

    kind = "pool"
    more_outputs = (("codes", "codes"),)

    act: Elementwise
    pool: AvgPool2D

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        out = self.pool.out_shape(site, inputs[0])
        return out, out

    def forward(self, *inputs: Array) -> tuple[Array, Array]:
        seen = self.pool.seen(inputs[0])
        bits = ((seen > 0) * (1 << np.arange(self.pool.n_positions))).sum(-1)
        return self.act.f(seen).mean(-1), bits

    def gradient(self, rules: Gradients) -> Sequence[str | None]:
        gradient = ActivatedAvgPoolGradient(self, rules.shape(rules.inputs[0]))
        return [rules.add(gradient, rules.grads[0], rules.outputs[1])]


@dataclass(frozen=True)
class ActivatedAvgPoolGradient(Op):
    """dx = dy / (ph * pw) * f'(x), f' from the bits. Inputs: dy, codes."""

    kind = "pool_dx"
    role = "gradient"

    of: ActivatedAvgPool
    x: Shape

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.x,)

    def forward(self, *inputs: Array) -> tuple[Array]:
        dy, codes = inputs
        pool = self.of.pool
        live = (codes[..., None] >> np.arange(pool.n_positions)) & 1
        each = (dy / pool.n_positions)[..., None] * self.of.act.slope(live.astype(float))
        return (pool.spread(each, self.x),)
