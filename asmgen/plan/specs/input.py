"""Spec of the input: images of the data set become numbers."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    affine_tag,
    dtype_tag,
    halo_tag,
    require,
    require_rows,
)


@dataclass(frozen=True)
class LoadInput(KernelSpec):
    """dst[n] = u8 image[indices[n]] * scale[c] + shift[c]; images are planar `c h w` u8, one after the other.

    dst is an Image with block 1 or V (its halo is not written, pad lanes are zero), or Rows without source (features in
    c, h, w order).
    """

    c: int
    h: int
    w: int
    dst: Activations
    scale: tuple[float, ...]  # one per channel
    shift: tuple[float, ...]

    @property
    def op(self) -> str:
        return "load_input"

    def slice_units(self) -> int:
        return self.dst.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        kind = "rows" if isinstance(self.dst, Rows) else "image" if self.dst.block == 1 else "blocks"
        halo = halo_tag(self.dst) if isinstance(self.dst, Image) else ""
        shape = f"n{self.dst.n}c{self.c}h{self.h}w{self.w}{halo}"
        return f"{self.op}_{shape}_{kind}{affine_tag(self.scale, self.shift)}_{dtype_tag(self.dst.dtype)}"

    def flops(self) -> int:
        return 2 * self.dst.n * self.c * self.h * self.w

    def check(self) -> None:
        super().check()
        require(len(self.scale) == len(self.shift) == self.c, self, "needs a scale and a shift for each channel")
        if isinstance(self.dst, Image):
            shape = self.dst.c, self.dst.h, self.dst.w
            require(shape == (self.c, self.h, self.w), self, "dst is not of the images' shape")
        else:
            require_rows(self, self.c * self.h * self.w, dst=self.dst)
