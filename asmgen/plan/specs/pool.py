"""Specs of pools with kernels of their own."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import Image
from asmgen.plan.specs.base import (
    MAX_CODES,
    KernelSpec,
    Pool,
    SliceKind,
    dtype_tag,
    fused_words,
    halo_tag,
    image_tag,
    require,
    require_images,
    tags,
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

    @property
    def op(self) -> str:
        return "pool_fwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(pool=self.pool)

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if self.y.halo else ""
        windows = _windows_tag(self.pool, self.x, self.y) + tags(self.fused)
        tag = "" if self.codes else "_nocodes"
        return f"{self.op}_n{self.x.n}{image_tag(self.x)}{o}{windows}{tag}_{dtype_tag(self.x.dtype)}"

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

    @property
    def op(self) -> str:
        return "pool_bwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(pool=self.pool)

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        windows = _windows_tag(self.pool, self.dx, self.dy) + tags(self.fused)
        return f"{self.op}_n{self.dx.n}{image_tag(self.dx)}{d}{windows}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return self.dy.n * self.dy.c * self.dy.h * self.dy.w * self.pool.ph * self.pool.pw

    def check(self) -> None:
        super().check()
        _check_windows(self, self.pool, self.dx, self.dy)


def _windows_tag(pool: Pool, whole: Image, pooled: Image) -> str:
    """`_n3x4` with 3 x 4 windows, where they are not all that there are."""
    is_whole = (pooled.h, pooled.w) == pool.windows(whole.h, whole.w)
    return "" if is_whole else f"_n{pooled.h}x{pooled.w}"


def _check_windows(spec: KernelSpec, pool: Pool, whole: Image, pooled: Image) -> None:
    rows, cols = pool.windows(whole.h, whole.w)
    require(0 < pooled.h <= rows and 0 < pooled.w <= cols, spec, "the windows reach beyond the image")
    require_images(spec, (whole.c, pooled.h, pooled.w), pooled=pooled)
    require_images(spec, (pooled.c, whole.h, whole.w), whole=whole)
