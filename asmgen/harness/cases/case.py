"""A kernel's test case: the memory it gets, what must be in it afterwards, and how exact that has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, DenseWeights, DenseWeightsByOutput, Image, Rows

Array = np.ndarray[Any, Any]
Weights = ConvWeights | ConvWeightsByInput | DenseWeights | DenseWeightsByOutput

#: "integers": small integers, so that sums of products are exact in any order; "uniform": floats in [-1, 1).
DATA = ("integers", "uniform")


_TF32_BITS = 0xFFFFE000  # a float32 without the 13 bits of fraction that tf32 lacks


@dataclass(frozen=True)
class Operand:
    """One pointer argument: its memory before the call (outputs: NaN where the kernel must write).

    target: other memory that `before` (u64) holds offsets into; the kernel finds addresses there instead.
    """

    name: str
    before: Array
    is_output: bool = False
    align: int = 64
    target: Operand | None = None


@dataclass(frozen=True)
class Expected:
    """`unpack(memory of operand)` must be within `bound` of `value`, element by element; bound 0 is equality."""

    name: str
    operand: int
    unpack: Callable[[Array], Array]
    value: Array
    bound: Array | float


#: Looks at the memory of all operands after the call and says what is wrong.
Check = Callable[[list[Array]], Iterable[str]]


@dataclass(frozen=True)
class Case:
    """Operands in the order rdi, rsi, rdx, rcx (None: the kernel must not touch that argument)."""

    title: str
    operands: tuple[Operand | None, ...]
    expected: tuple[Expected, ...]
    checks: tuple[Check, ...] = ()
    in_place: tuple[int, int] | None = None  # (input, output) that may be the same memory


class Draw:
    """Random logical arrays of one data set, representable in the dtype (and in tf32, if asked), as float64."""

    def __init__(self, rng: np.random.Generator, data: str, dtype: str, precision: str = "float32") -> None:
        self.rng = rng
        self.is_tf32 = precision == "tf32" and dtype == "float32"
        self.is_exact = data == "integers"
        self.dtype = dtype
        self.eps = float(np.finfo(dtype).eps)
        self.tiny = float(np.finfo(dtype).tiny)

    def __call__(self, *shape: int) -> Array:
        if self.is_exact:
            return self.rng.integers(-3, 4, shape).astype(np.float64)
        return self.round(self.rng.uniform(-1.0, 1.0, shape))

    def round(self, values: Any) -> Array:
        """values as the dtype represents them."""
        rounded = np.asarray(values, self.dtype)
        if self.is_tf32:
            rounded = (rounded.view(np.uint32) & np.uint32(_TF32_BITS)).view(np.float32)
        return rounded.astype(np.float64)

    def codes(self, n_values: int, *shape: int) -> Array:
        return self.rng.integers(0, n_values, shape).astype(np.uint8)

    def bound(self, n_roundings: int, magnitude: Array | float, *, exact: bool = False) -> Array | float:
        """The error of a sum with n_roundings on its longest chain whose terms' absolute values add up to `magnitude`.

        n * eps * magnitude is twice the classical n*u/(1-n*u) bound; n * tiny is what flushing to zero may lose.
        exact: integer data needs no rounding here, so the bound of that data set is 0.
        """
        if exact and self.is_exact:
            return 0.0
        return n_roundings * (self.eps * magnitude + self.tiny)


def is_power_of_two(value: int) -> bool:
    return value & (value - 1) == 0


# layouts -------------------------------------------------------------------------------------------------------------


def unwritten(layout: Image | Rows) -> Array:
    """An output before the call: NaN where every slice together must write (pad lanes too), zeros in the halo."""
    if isinstance(layout, Rows):
        return np.full(layout.size_bytes // layout.element_bytes, np.nan, layout.dtype)
    c = layout.n_c_blocks * layout.block
    whole = Image(layout.n, c, layout.h, layout.w, layout.block, layout.dtype, layout.halo)
    return np.where(whole.pack(np.ones((layout.n, c, layout.h, layout.w))) == 1, np.nan, 0).astype(layout.dtype)


def unwritten_weights(layout: Weights, *, bias: bool) -> Array:
    """A parameter block before the call; the bias part stays zero where the kernel has no bias."""
    flat = np.full(layout.size_bytes // layout.element_bytes, np.nan, layout.dtype)
    at = layout.bias_offset_bytes // layout.element_bytes
    if not bias:
        flat[at:] = 0
    return flat


def padding_check(name: str, operand: int, layout: Image | Rows) -> Check:
    """Pad lanes and halo hold zeros."""

    def check(memory: list[Array]) -> Iterable[str]:
        if not layout.padding_is_zero(memory[operand]):
            expected = layout.pack(layout.unpack(memory[operand]))
            yield _not_zero(name, expected, memory[operand], f"layout {layout}")

    return check


def weights_padding_check(name: str, operand: int, layout: Weights) -> Check:
    """Pad lanes, pad rows and the padding of the bias hold zeros."""

    def check(memory: list[Array]) -> Iterable[str]:
        flat = memory[operand]
        expected = layout.pack(*layout.unpack(flat))
        if not np.array_equal(expected, flat, equal_nan=True):
            yield _not_zero(name, expected, flat, f"layout {layout}")

    return check


def _not_zero(name: str, expected: Array, got: Array, layout: str) -> str:
    bad = np.flatnonzero(~((expected == got) | (np.isnan(expected) & np.isnan(got))))
    if not bad.size:
        return f"{name}: holds NaN in {layout}"
    at = int(bad[0])
    return (
        f"{name}: {bad.size} pad or halo elements are not zero, first at byte {at * got.itemsize}: {got[at]} ({layout})"
    )


def code_layout(image: Image) -> Image:
    """Where the codes of a pooled image lie, in elements: no halo (the bytes are one per element)."""
    return Image(image.n, image.c, image.h, image.w, image.block, image.dtype)


def pack_codes(image: Image, codes: Array, pad: Array) -> Array:
    """[n, c, h, w] codes -> flat u8; pad lanes get the values of `pad` (flat)."""
    layout = code_layout(image)
    real = layout.pack(np.ones(codes.shape)) == 1
    return np.where(real, layout.pack(codes.astype(np.float64)).astype(np.uint8), pad).astype(np.uint8)


def unpack_codes(image: Image, flat: Array) -> Array:
    layout = code_layout(image)
    return layout.unpack(flat.astype(image.dtype)).astype(np.uint8)


def n_codes(image: Image) -> int:
    """Bytes of the code buffer of a pooled image."""
    return image.n * image.code_sample_bytes
