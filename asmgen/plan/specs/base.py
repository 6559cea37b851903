"""What all specs share: the base class, pools and the tags of symbols."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from asmgen.plan.layout import Activations, Image, Rows
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

    def slice_units(self) -> int:
        """The extent of [begin, end)."""
        raise NotImplementedError

    def slice_kind(self) -> SliceKind:
        """What the units are. "samples": unit i is sample i, and of every tensor that kernels write by samples a call
        touches only the parts of its own ones. "outputs": parts of what it writes, whatever it reads.
        """
        return "outputs"

    def stem(self) -> str:
        """The symbol without the ISA: op, shapes, fusion, dtype (`f32` / `f64`)."""
        raise NotImplementedError

    def symbol(self, isa_name: str) -> str:
        return f"{self.stem()}_{isa_name}"

    def flops(self) -> int:
        """Floating point operations of the whole slice; a multiply and an add count one each."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ValueError when an assumption of the emitters does not hold."""


def dtype_tag(dtype: str) -> str:
    """f32 or f64."""
    return {"float32": "f32", "float64": "f64"}[dtype]


def require(condition: bool, spec: KernelSpec, message: str) -> None:
    if not condition:
        values = ", ".join(f"{field.name}={getattr(spec, field.name)}" for field in fields(spec))
        raise ValueError(f"{type(spec).__name__}: {message} ({values})")


def activation_tag(act: Activation) -> str:
    """`_relu`, `_leaky0p01`, ... or nothing."""
    return act.traits.tag.format(alpha=number_tag(act.alpha))


def number_tag(value: float) -> str:
    """`0p01`, `1em05`, `m2p0`: all digits that tell the value from others."""
    return repr(value).replace(".", "p").replace("-", "m").replace("+", "")


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


def pool_tag(pool: Pool | None) -> str:
    """`_maxpool2`; `_avgpool3x2s2` where the stride is not the window; nothing without a pool."""
    if pool is None:
        return ""
    window = f"{pool.ph}" if pool.ph == pool.pw else f"{pool.ph}x{pool.pw}"
    if pool.is_tiling:
        return f"_{pool.kind}pool{window}"
    stride = f"{pool.sh}" if pool.sh == pool.sw else f"{pool.sh}x{pool.sw}"
    return f"_{pool.kind}pool{window}s{stride}"
