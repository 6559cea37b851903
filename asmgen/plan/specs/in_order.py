"""Specs of the copy of an image's values in the order of a vector, c, h, w, and of its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs.base import KernelSpec, SliceKind, activations_tag, dtype_tag, require_images, require_rows


@dataclass(frozen=True)
class InOrderForward(KernelSpec):
    """y[n,(c*H+h)*W+w] = x[n,c,h,w]. Padding of y's rows is written with zeros."""

    x: Image
    y: Rows

    @property
    def op(self) -> str:
        return "in_order_fwd"

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.x)}_{dtype_tag(self.x.dtype)}"

    def formula(self) -> str:
        return f"y[n,{_feature(self.x)}] = x[n,c,h,w]"

    def flops(self) -> int:
        return 0

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x -> y."""
        return (inputs[0].reshape(self.y.n, self.y.features).copy(),)

    def check(self) -> None:
        super().check()
        _check(self, self.x, self.y)


@dataclass(frozen=True)
class InOrderBackward(KernelSpec):
    """dx[n,c,h,w] = dy[n,(c*H+h)*W+w]. Overwritten, pad lanes with zeros; halo untouched."""

    dy: Rows
    dx: Image

    @property
    def op(self) -> str:
        return "in_order_bwd"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.dx)}_{dtype_tag(self.dx.dtype)}"

    def formula(self) -> str:
        return f"dx[n,c,h,w] = dy[n,{_feature(self.dx)}]"

    def flops(self) -> int:
        return 0

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """dy -> dx."""
        return (inputs[0].reshape(self.dx.n, self.dx.c, self.dx.h, self.dx.w).copy(),)

    def check(self) -> None:
        super().check()
        _check(self, self.dx, self.dy)


def _feature(image: Image) -> str:
    return f"{image.h * image.w}c+{image.w}h+w"


def _check(spec: KernelSpec, image: Image, rows: Rows) -> None:
    require_images(spec, (image.c, image.h, image.w), image=image)
    require_rows(spec, image.c * image.h * image.w, rows=rows)
