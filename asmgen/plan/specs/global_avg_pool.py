"""Specs of the mean over all pixels of a channel, and of its gradient."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs.base import KernelSpec, SliceKind, dtype_tag, image_tag, require, require_images


@dataclass(frozen=True)
class GlobalAvgPoolForward(KernelSpec):
    """y[n,c] = 1/(h*w) sum_{h,w} x[n,c,h,w]. Padding of y's rows is written with zeros."""

    x: Image
    y: Rows

    @property
    def op(self) -> str:
        return "global_avg_pool_fwd"

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_n{self.x.n}{image_tag(self.x)}{_rows_tag(self.y)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.x.n * self.x.c * self.x.h * self.x.w

    def check(self) -> None:
        super().check()
        _check(self, self.x, self.y)


@dataclass(frozen=True)
class GlobalAvgPoolBackward(KernelSpec):
    """dx[n,c,h,w] = dy[n,c] / (h*w) at every pixel. Overwritten, halo untouched."""

    dy: Rows
    dx: Image

    @property
    def op(self) -> str:
        return "global_avg_pool_bwd"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_n{self.dx.n}{image_tag(self.dx)}{_rows_tag(self.dy)}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return self.dx.n * self.dx.c

    def check(self) -> None:
        super().check()
        _check(self, self.dx, self.dy)


def _check(spec: KernelSpec, image: Image, rows: Rows) -> None:
    one_a_channel = rows.features == image.c and (rows.source is None or rows.source.c == image.c)
    require(one_a_channel, spec, "rows must have one feature a channel")
    require_images(spec, (image.c, image.h, image.w), image=image)


def _rows_tag(rows: Rows) -> str:
    """`_of1x1` where the rows are the flattened view of an image of one pixel, whose padding differs."""
    return "_of1x1" if rows.source else ""
