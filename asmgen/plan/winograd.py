"""Winograd's minimal filtering F(m x m, 3 x 3): the three transforms, and where transformed weights lie.

A tile of m x m outputs of a 3 x 3 correlation with stride 1 depends on (m+2) x (m+2) inputs d:

    y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A        (* is element by element)

which takes (m+2)^2 multiplications a channel instead of 9 m^2: 36 for 144 with m = 4, 16 for 36 with m = 2. The points
of interpolation are 0, 1, -1, infinity, and 2, -2 for m = 4 (Lavin and Gray, 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES, round_up

Array = np.ndarray[Any, Any]

TAPS = 3  # rows and columns of the filter
SIZES = (4, 2)  # m
RMS_LIMITS = {4: 5e-6, 2: 1e-6}  # of the errors in float32, relative to the values
MOST_INPUTS = {4: 384, 2: 512}  # channels summed over: errors grow with their root, by 2e-7 and 3.3e-8, and scatter


@dataclass(frozen=True)
class Transform:
    """The matrices of F(m x m, 3 x 3). G is kept as small integers g and a divisor for each of its rows."""

    m: int
    bt: tuple[tuple[int, ...], ...]
    g: tuple[tuple[int, ...], ...]
    divisors: tuple[int, ...]
    at: tuple[tuple[int, ...], ...]

    @property
    def side(self) -> int:
        """Rows and columns of an input tile."""
        return self.m + TAPS - 1

    @property
    def n_positions(self) -> int:
        """Elements of a transformed tile: the products of one channel."""
        return self.side * self.side

    def weights(self, w: Array) -> Array:
        """G w G^T of [..., 3, 3], in float64; exact where the quotients are."""
        g = np.array(self.g, np.float64)
        return np.asarray(np.einsum("ik,...kl,jl->...ij", g, np.asarray(w, np.float64), g) / self.divisor_products)

    @property
    def divisor_products(self) -> Array:
        """What the integer part of element (i, j) of G w G^T is divided by."""
        return np.outer(self.divisors, self.divisors)


F4 = Transform(
    m=4,
    bt=(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    g=((1, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    divisors=(4, -6, -6, 24, 24, 1),
    at=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)
F2 = Transform(
    m=2,
    bt=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    g=((1, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 1)),
    divisors=(1, 2, 2, 1),
    at=((1, 1, 1, 0), (0, 1, -1, -1)),
)
TRANSFORMS: dict[int, Transform] = {transform.m: transform for transform in (F4, F2)}


@dataclass(frozen=True)
class TransformedWeights:
    """`[outputs/V][position][inputs][V]`, then, where has_bias, the bias `[outputs/V][V]`; pad lanes are zero.

    The outputs are the channels in lanes, the inputs those that are summed over: oc and c in the forward direction,
    c and oc in the input gradient's, whose taps are mirrored (`mirrored`).
    """

    outputs: int
    inputs: int
    m: int
    block: int
    dtype: str
    mirrored: bool

    @property
    def transform(self) -> Transform:
        return TRANSFORMS[self.m]

    @property
    def has_bias(self) -> bool:
        return not self.mirrored

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def n_blocks(self) -> int:
        """Vectors of outputs."""
        return -(-self.outputs // self.block)

    @property
    def input_bytes(self) -> int:
        """From an input channel to the next: one vector."""
        return self.block * self.element_bytes

    @property
    def position_bytes(self) -> int:
        return self.inputs * self.input_bytes

    @property
    def block_bytes(self) -> int:
        return self.transform.n_positions * self.position_bytes

    @property
    def bias_offset_bytes(self) -> int:
        return self.n_blocks * self.block_bytes

    @property
    def size_bytes(self) -> int:
        return self.bias_offset_bytes + (self.n_blocks * self.input_bytes if self.has_bias else 0)

    def pack(self, w: Array, b: Array) -> Array:
        """The transform of w [oc, c, 3, 3], and b [oc], -> flat elements."""
        taps = np.swapaxes(w, 0, 1)[:, :, ::-1, ::-1] if self.mirrored else w
        u = self.transform.weights(taps).reshape(self.outputs, self.inputs, -1)
        pad = self.n_blocks * self.block - self.outputs
        blocked = np.pad(u, ((0, pad), (0, 0), (0, 0))).reshape(self.n_blocks, self.block, self.inputs, -1)
        flat = blocked.transpose(0, 3, 2, 1).astype(self.dtype).reshape(-1)
        return np.concatenate([flat, np.pad(np.asarray(b, self.dtype), (0, pad))]) if self.has_bias else flat

    def unpack(self, flat: Array) -> tuple[Array, Array | None]:
        """Flat elements -> u [outputs, inputs, m+2, m+2], bias."""
        at, side = self.bias_offset_bytes // self.element_bytes, self.transform.side
        blocked = flat[:at].reshape(self.n_blocks, -1, self.inputs, self.block).transpose(0, 3, 2, 1)
        u = blocked.reshape(-1, self.inputs, side, side)[: self.outputs]
        return u.copy(), flat[at : at + self.outputs].copy() if self.has_bias else None

    def __str__(self) -> str:
        bias = " + bias" if self.has_bias else ""
        return f"[{self.n_blocks}][{self.transform.n_positions}][{self.inputs}][{self.block}]{bias}"


def _spread(n_bytes: int) -> int:
    """At least n_bytes: an odd number of cache lines, so that an element's positions fall into different sets."""
    return (-(-n_bytes // LINE_BYTES) | 1) * LINE_BYTES


@dataclass(frozen=True)
class TransformedTiles:
    """v: `[position][tile][channels padded to V]`, the transformed input tiles of a block."""

    n_positions: int
    n_tiles: int
    channels: int
    block: int
    dtype: str

    @property
    def vector_bytes(self) -> int:
        return self.block * ELEMENT_BYTES[self.dtype]

    @property
    def tile_bytes(self) -> int:
        return round_up(self.channels, self.block) * ELEMENT_BYTES[self.dtype]

    @property
    def position_bytes(self) -> int:
        return _spread(self.n_tiles * self.tile_bytes)

    @property
    def size_bytes(self) -> int:
        return self.n_positions * self.position_bytes


@dataclass(frozen=True)
class TransformedOutputs:
    """p: `[position][vector][tile][V]`, the products of a block of tiles with a group of output vectors."""

    n_positions: int
    n_vectors: int
    n_tiles: int
    block: int
    dtype: str

    @property
    def tile_bytes(self) -> int:
        return self.block * ELEMENT_BYTES[self.dtype]

    @property
    def position_bytes(self) -> int:
        return _spread(self.n_vectors * self.n_tiles * self.tile_bytes)

    @property
    def size_bytes(self) -> int:
        return self.n_positions * self.position_bytes

    def offset_bytes(self, vector: int, tile: int) -> int:
        """Of a vector from the start of its position."""
        return (vector * self.n_tiles + tile) * self.tile_bytes
