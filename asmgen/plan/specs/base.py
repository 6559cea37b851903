"""What all specs share: the base class, pools and the tags of symbols."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from asmgen.plan.layout import NO_HALO, Activations, Image, Rows
from asmgen.plan.specs.activations import Activation

SliceKind = Literal["samples", "outputs"]

MAX_CODES = 256  # positions of a max pool's window: argmax codes are u8


@dataclass(frozen=True)
class Pool:
    """A pooling window ph x pw moved by sh, sw without padding; kind "max" or "avg"."""

    kind: str
    ph: int
    pw: int
    sh: int
    sw: int

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown kind."""
        if self.kind not in ("max", "avg"):
            raise ValueError(f"pool {self.kind!r} is neither max nor avg")

    @property
    def is_tiling(self) -> bool:
        """Windows touch without overlapping: what a convolution can fuse."""
        return (self.ph, self.pw) == (self.sh, self.sw)

    @property
    def n_positions(self) -> int:
        """Values of a window."""
        return self.ph * self.pw

    def windows(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns of windows that h x w values have; what fills no window is dropped."""
        return (h - self.ph) // self.sh + 1, (w - self.pw) // self.sw + 1

    def extent(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns from the first to the last that h x w windows read."""
        return (h - 1) * self.sh + self.ph, (w - 1) * self.sw + self.pw


@dataclass(frozen=True)
class KernelSpec:
    """Base of all specs."""

    @property
    def op(self) -> str:
        """The kernel's name (docs/glossary.md). Its symbol begins with it; what has taps says `conv3` for `conv2d`."""
        raise NotImplementedError

    @property
    def fused(self) -> tuple[str, ...]:
        """What else the kernel computes: words of the symbol, in the order in which they are applied."""
        return ()

    @property
    def text(self) -> str:
        """The op and what is fused, for people: `conv2d_fwd+bias+relu+maxpool2`."""
        return "+".join((self.op, *self.fused))

    def slice_units(self) -> int:
        """The extent of [begin, end)."""
        raise NotImplementedError

    def slice_kind(self) -> SliceKind:
        """What a unit of the slice is: the contract by which threads share a kernel.

        "samples": unit i is sample i. A call on [begin, end) reads and writes, of every tensor that has samples, only
        samples begin .. end - 1. Two kernels sliced so need no barrier between them: each thread meets its own samples.
        Example: a convolution's forward kernel.
        "outputs": a unit is a part of what the kernel writes, such as a block of output channels. A call writes only
        its own parts, and may read anything. Example: a weight gradient, which reads all samples.
        """
        return "outputs"

    def stem(self) -> str:
        """The symbol without the ISA: op, shapes, fusion, dtype (`f32` / `f64`). Of specs that `check` lets pass and
        whose lanes are one ISA's, different ones have different stems."""
        raise NotImplementedError

    def symbol(self, isa_name: str) -> str:
        return f"{self.stem()}_{isa_name}"

    def flops(self) -> int:
        """Floating point operations of the whole slice; a multiply and an add count one each."""
        raise NotImplementedError

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """The outputs in NumPy float64, of inputs in the order of the kernel's arguments.

        Specs that do not say it here have it in asmgen/reference/ops.py.
        """
        raise NotImplementedError(f"{type(self).__name__} has no reference")

    def check(self) -> None:
        """Raise ValueError when an assumption of the emitters does not hold. Here: all parts have one dtype, batch and
        block of lanes (the network's input aside, which may be planar)."""
        for name in ("dtype", "n", "block"):
            found = sorted(set(_values(self, name)))
            require(len(found) <= 1, self, f"{name} differs: {', '.join(map(str, found))}")
        require(1 not in _values(self, "block"), self, "channels must be in lanes")
        for source in _values(self, "source"):
            require(source is None or (source.block > 1 and not source.halo), self, "rows of a planar image or a halo")


def dtype_tag(dtype: str) -> str:
    """f32 or f64."""
    return {"float32": "f32", "float64": "f64"}[dtype]


def require(condition: bool, spec: KernelSpec, message: str) -> None:
    if not condition:
        values = ", ".join(f"{field.name}={getattr(spec, field.name)}" for field in fields(spec))
        raise ValueError(f"{type(spec).__name__}: {message} ({values})")


def _values(what: Any, name: str) -> Iterator[Any]:
    """The fields of this name in a spec and in what it is made of, but for the block of a planar input."""
    for field in fields(what):
        value = getattr(what, field.name)
        if name == "block" and isinstance(value, Image) and value.block == 1 and field.name in ("x", "dst"):
            continue
        if field.name == name:
            yield value
        if is_dataclass(value):
            yield from _values(value, name)


def require_images(spec: KernelSpec, shape: tuple[int, int, int], **images: Image) -> None:
    """Raise ValueError unless the images are of (c, h, w) and have their channels in lanes."""
    for name, image in images.items():
        require((image.c, image.h, image.w) == shape, spec, f"{name} is not of {'x'.join(map(str, shape))}")
        require(image.block > 1, spec, f"{name} must have its channels in lanes")


def require_same(spec: KernelSpec, **layouts: Activations) -> None:
    """Raise ValueError unless the layouts are the same but for halos, with channels in lanes."""
    first, *others = (replace(t, halo=NO_HALO) if isinstance(t, Image) else t for t in layouts.values())
    require(first.block > 1, spec, "channels must be in lanes")
    require(all(other == first for other in others), spec, f"{', '.join(layouts)} are not of one shape")


def require_rows(spec: KernelSpec, features: int, **rows: Rows) -> None:
    """Raise ValueError unless the rows have so many features of their own."""
    for name, row in rows.items():
        require(row.features == features, spec, f"{name} does not have {features} features")
        require(row.source is None, spec, f"{name} is the view of an image")


def fused_words(*, bias: bool = False, act: Activation | None = None, pool: Pool | None = None) -> tuple[str, ...]:
    """`bias`, `relu`, `leaky0p01`, `maxpool2`; `avgpool3x2s2`, where the stride is not the window."""
    words = ["bias"] if bias else []
    if act:
        words.append(act.traits.tag.format(alpha=number_tag(act.alpha)).removeprefix("_"))
    if pool:
        words.append(_pool_word(pool))
    return tuple(words)


def tags(words: tuple[str, ...]) -> str:
    """Words as a part of a symbol: `_bias_relu`."""
    return "".join(f"_{word}" for word in words)


def number_tag(value: float) -> str:
    """`0p01`, `1em05`, `m2p0`: all digits that tell the value from others."""
    return repr(float(value) + 0.0).replace(".", "p").replace("-", "m").replace("+", "")


def affine_tag(scale: tuple[float, ...], shift: tuple[float, ...]) -> str:
    """`_affine` and a digest of the numbers; nothing where pixels become u8 / 255."""
    if set(scale) == {1 / 255} and not any(shift):
        return ""
    return f"_affine{numbers_digest(*scale, *shift)}"


def numbers_digest(*values: float) -> str:
    """8 hexadecimal digits."""
    numbers = ",".join(map(number_tag, values))
    return hashlib.sha256(numbers.encode()).hexdigest()[:8]


def halo_tag(image: Image) -> str:
    halo = image.halo
    sides = (halo.top, halo.bottom, halo.left, halo.right)
    if not halo:
        return ""
    return f"p{halo.top}" if len(set(sides)) == 1 else "p" + "x".join(map(str, sides))


def image_tag(image: Image) -> str:
    """`c32h64w64p1`: channels, interior, halo."""
    return f"c{image.c}h{image.h}w{image.w}{halo_tag(image)}"


def activations_tag(layout: Activations) -> str:
    """`n16c32h64w64p1` or `n64f128` (features), `n16f32768c128h16w16` for flattened images."""
    if isinstance(layout, Rows):
        source = f"c{layout.source.c}h{layout.source.h}w{layout.source.w}" if layout.source else ""
        return f"n{layout.n}f{layout.features}{source}"
    return f"n{layout.n}{image_tag(layout)}"


def _pool_word(pool: Pool) -> str:
    window = f"{pool.ph}" if pool.ph == pool.pw else f"{pool.ph}x{pool.pw}"
    if pool.is_tiling:
        return f"{pool.kind}pool{window}"
    stride = f"{pool.sh}" if pool.sh == pool.sw else f"{pool.sh}x{pool.sw}"
    return f"{pool.kind}pool{window}s{stride}"
