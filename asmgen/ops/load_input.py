"""The network's input: the u8 images of a batch as numbers."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.ops.base import Op, Shape, Site
from asmgen.ops.numeric import Array, np


@dataclass(frozen=True)
class LoadInput(Op):
    """x[n, c] = image[n, c] * scale[c] + shift[c], of u8 images."""

    kind = "input"

    scale: tuple[float, ...]  # one per channel
    shift: tuple[float, ...]

    def out_shapes(self, site: Site, *inputs: Shape) -> tuple[Shape, ...]:
        return inputs[:1]

    def forward(self, *inputs: Array) -> tuple[Array]:
        shape = (1, -1, 1, 1)
        return (inputs[0] * np.reshape(self.scale, shape) + np.reshape(self.shift, shape),)
