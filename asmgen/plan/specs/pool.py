"""Specs of pools and activations with kernels of their own."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import Activations, Image
from asmgen.plan.specs.activations import Activation
from asmgen.plan.specs.base import (
    MAX_CODES,
    KernelSpec,
    Pool,
    SliceKind,
    activation_tag,
    activations_tag,
    dtype_tag,
    halo_tag,
    image_tag,
    pool_tag,
    require,
    require_images,
    require_same,
)


@dataclass(frozen=True)
class PoolForward(KernelSpec):
    """y[c,oh,ow] = max or mean of x over a window of any size and stride.

    codes: whether a maximum writes its position, u8 r*pw+s, the first of equal ones.
    """

    x: Image
    y: Image
    pool: Pool
    codes: bool = True

    @property
    def has_codes(self) -> bool:
        return self.codes and self.pool.kind == "max"

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if self.y.halo else ""
        windows = _windows_tag(self.pool, self.x, self.y)
        tag = "" if self.codes else "_nocodes"
        return f"pool_fwd_n{self.x.n}{image_tag(self.x)}{o}{windows}{tag}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.y.n * self.y.c * self.y.h * self.y.w * self.pool.ph * self.pool.pw

    def check(self) -> None:
        super().check()
        _check_windows(self, self.pool, self.x, self.y)
        require(self.codes or self.pool.kind == "max", self, "only a maximum has codes to leave out")
        require(
            not self.has_codes or self.pool.n_positions <= MAX_CODES,
            self,
            f"argmax codes are u8: a window of at most {MAX_CODES}",
        )


@dataclass(frozen=True)
class PoolBackward(KernelSpec):
    """dx of the pool; windows may overlap (contributions add up, in window order). Overwritten, halo untouched."""

    dy: Image
    dx: Image
    pool: Pool

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        windows = _windows_tag(self.pool, self.dx, self.dy)
        return f"pool_bwd_n{self.dx.n}{image_tag(self.dx)}{d}{windows}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return self.dy.n * self.dy.c * self.dy.h * self.dy.w * self.pool.ph * self.pool.pw

    def check(self) -> None:
        super().check()
        _check_windows(self, self.pool, self.dx, self.dy)


def _windows_tag(pool: Pool, whole: Image, pooled: Image) -> str:
    """`_maxpool2`; `_n3x4_maxpool2` with 3 x 4 windows, where they are not all that there are."""
    is_whole = (pooled.h, pooled.w) == pool.windows(whole.h, whole.w)
    return ("" if is_whole else f"_n{pooled.h}x{pooled.w}") + pool_tag(pool)


def _check_windows(spec: KernelSpec, pool: Pool, whole: Image, pooled: Image) -> None:
    rows, cols = pool.windows(whole.h, whole.w)
    require(0 < pooled.h <= rows and 0 < pooled.w <= cols, spec, "the windows reach beyond the image")
    require_images(spec, (whole.c, pooled.h, pooled.w), pooled=pooled)
    require_images(spec, (pooled.c, whole.h, whole.w), whole=whole)


@dataclass(frozen=True)
class ActForward(KernelSpec):
    """y = f(x) over a whole tensor (x and y have the same layout but for the halo; y may be x). Pad lanes stay zero."""

    x: Activations
    y: Activations
    act: Activation

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if isinstance(self.y, Image) and self.y.halo else ""
        return f"act_fwd_{activations_tag(self.x)}{o}{activation_tag(self.act)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.x.size_bytes // self.x.element_bytes

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, y=self.y)


@dataclass(frozen=True)
class ActBackward(KernelSpec):
    """dx = dy * f', and f' is seen from `saved`: x or y = f(x), as `act.traits.slope_from` says. dx may be dy.

    From y: relu y>0, leaky y>0 ? 1 : alpha, sigmoid y(1-y), tanh 1-y^2.
    """

    dy: Activations
    saved: Activations
    dx: Activations
    act: Activation

    def slice_units(self) -> int:
        return self.dy.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = "".join(
            f"_{name}{halo_tag(t)}"
            for name, t in (("d", self.dy), (self.act.traits.slope_from, self.saved), ("o", self.dx))
            if isinstance(t, Image) and t.halo
        )
        base = activations_tag(self.dy).split("p")[0] if isinstance(self.dy, Image) else activations_tag(self.dy)
        return f"act_bwd_{base}{halos}{activation_tag(self.act)}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        return 2 * self.dy.size_bytes // self.dy.element_bytes

    def check(self) -> None:
        super().check()
        require_same(self, dy=self.dy, saved=self.saved, dx=self.dx)
