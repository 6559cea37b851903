"""The tile of Winograd's convolution: which tiles are transformed together, and the register tiles of their products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dBackwardInputWinograd, Conv2dForwardWinograd
from asmgen.plan.specs.winograd import Correlation
from asmgen.plan.winograd import TransformedOutputs, TransformedTiles
from asmgen.tile.conv2d import splits

MAX_FRAME_BYTES = 192 * 1024  # v and p on the stack
MAX_CHANNELS = 4  # input channels per iteration


@dataclass(frozen=True)
class ProductTile:
    """`count` register tiles of `tiles` x `vectors` sums."""

    tiles: int
    vectors: int
    count: int
    weights_in_registers: bool

    def __str__(self) -> str:
        return f"{self.count} x ({self.tiles} tiles x {self.vectors} vectors)"


@dataclass(frozen=True)
class Group:
    """`count` times `vectors` vectors of outputs; their products with the tiles of a block."""

    vectors: int
    count: int
    products: tuple[ProductTile, ...]


@dataclass(frozen=True)
class WinogradTile:
    """Blocks of rows x cols tiles of m x m outputs; channels: input channels per iteration of the products.

    n_rows, n_cols: blocks down and across; where they do not fit, the last one overlaps its neighbour.
    """

    m: int
    rows: int
    cols: int
    n_rows: int
    n_cols: int
    groups: tuple[Group, ...]
    channels: int

    @property
    def n_tiles(self) -> int:
        """Tiles of a block."""
        return self.rows * self.cols

    def scratch(self, what: Correlation) -> tuple[TransformedTiles, tuple[TransformedOutputs, ...]]:
        """The layouts of v, and of p for each group."""
        u = what.u
        n_positions = u.transform.n_positions
        outputs = (
            TransformedOutputs(n_positions, group.vectors, self.n_tiles, u.block, u.dtype) for group in self.groups
        )
        return TransformedTiles(n_positions, self.n_tiles, u.inputs, u.block, u.dtype), tuple(outputs)

    def __str__(self) -> str:
        products = "; ".join(
            f"{group.count} group(s) of {group.vectors} vectors as {', '.join(map(str, group.products))}"
            for group in self.groups
        )
        return (
            f"{self.n_rows} x {self.n_cols} blocks of {self.rows} x {self.cols} tiles of {self.m} x {self.m}; "
            f"products: {products}; unrolled: {self.channels} channels"
        )


Spec = Conv2dForwardWinograd | Conv2dBackwardInputWinograd


def choose_tile(spec: Spec, isa: Isa) -> WinogradTile:
    return build_tile(spec, isa, *FORCED.get("x", (1, 4, 2, 6)))


FORCED: dict = {}


def build_tile(spec: Spec, isa: Isa, rows: int, cols: int, vectors: int, tiles: int) -> WinogradTile:
    what = spec.correlation
    m = what.u.m
    n = what.u.n_blocks
    rows, cols = min(rows, what.rows // m), min(cols, what.cols // m)
    T = rows * cols
    groups = []
    vectors = min(vectors, n)
    for vec, count in ((vectors, n // vectors), (n % vectors, 1)):
        if vec and count:
            k = -(-T // tiles)
            a, more = divmod(T, k)
            prods = []
            if more:
                prods.append(ProductTile(a + 1, vec, more, isa.has_fma))
            prods.append(ProductTile(a, vec, k - more, isa.has_fma))
            groups.append(Group(vec, count, tuple(prods)))
    return WinogradTile(m, rows, cols, -(-what.rows // (rows * m)), -(-what.cols // (cols * m)), tuple(groups), gcd(what.u.inputs, MAX_CHANNELS))
