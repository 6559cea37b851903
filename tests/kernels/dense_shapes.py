"""Shapes of dense layers around the edges of the tiles, for the three kernels of a dense layer."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import ISAS
from asmgen.plan.layout import DenseWeights, Image, Rows

DTYPES = ["float32", "float64"]


@dataclass(frozen=True)
class Shape:
    """A batch n, `vectors` * V + `extra` inputs, `out` outputs; image: inputs are a flattened c h w."""

    n: int
    vectors: int
    extra: int
    out: int
    image: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        inputs = "x".join(map(str, self.image)) if self.image else f"{self.vectors}V{self.extra:+d}"
        return f"n{self.n}-{inputs}-{self.out}"

    def layouts(self, isa: str, dtype: str) -> tuple[Rows, DenseWeights, Rows]:
        """x, w and y."""
        lanes = ISAS[isa].lanes(dtype)
        if self.image:
            c, h, w = self.image
            x = Rows(self.n, c * h * w, lanes, dtype, Image(self.n, c, h, w, lanes, dtype))
        else:
            x = Rows(self.n, self.vectors * lanes + self.extra, lanes, dtype)
        return x, DenseWeights(self.out, x, lanes, dtype), Rows(self.n, self.out, lanes, dtype)


SHAPES = [
    Shape(1, 0, 1, 1),
    Shape(1, 5, 0, 9),  # one sample: two sets of accumulators
    Shape(2, 1, -1, 3),
    Shape(3, 1, 0, 4),
    Shape(4, 1, 1, 5),
    Shape(5, 2, 3, 6),
    Shape(6, 4, 0, 8),  # full forward tile of AVX-512
    Shape(7, 7, 0, 10),  # and one sample more
    Shape(8, 6, 1, 13),  # full input gradient tile
    Shape(17, 8, -1, 20),
    Shape(3, 0, 0, 7, image=(5, 3, 3)),
]
