"""Specs of the depthwise convolution: forward, and both gradients. Lanes are channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from asmgen.ops.windows import Pads, patches, scatter
from asmgen.plan.layout import ConvWeights, Image
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    dtype_tag,
    fused_words,
    halo_tag,
    image_tag,
    require,
    require_images,
    tags,
)
from asmgen.plan.specs.sum_parts import parts_tag


@dataclass(frozen=True)
class Depthwise:
    """Geometry of z[c,oh,ow] = b[c] + sum_{i,j} x[c, oh*sh+i-pt, ow*sw+j-pl] * w[c,i,j]; outside of x are zeros.

    No kernel reads a halo: taps outside of x are left out. weights: those of a convolution of one input channel.
    """

    x: Image
    weights: ConvWeights
    oh: int
    ow: int
    sh: int
    sw: int
    pt: int
    pl: int
    bias: bool

    def of_samples(self, n: int) -> Depthwise:
        """The same for another number of samples."""
        return replace(self, x=replace(self.x, n=n))

    @property
    def macs(self) -> int:
        return self.x.n * self.x.c * self.oh * self.ow * self.weights.kh * self.weights.kw

    @property
    def pads(self) -> Pads:
        """Zeros at the top, bottom, left, right that the taps of all outputs reach."""
        w, x = self.weights, self.x
        bottom = max(0, (self.oh - 1) * self.sh + w.kh - self.pt - x.h)
        return self.pt, bottom, self.pl, max(0, (self.ow - 1) * self.sw + w.kw - self.pl - x.w)

    def tag(self, op: str) -> str:
        """Where a symbol begins: op, taps, stride, pad, x, z."""
        w, x = self.weights, self.x
        taps = f"k{w.kh}x{w.kw}s{self.sh}x{self.sw}t{self.pt}l{self.pl}"
        return f"{op}_{taps}_n{x.n}{image_tag(x)}_o{self.oh}x{self.ow}"

    def check(self, spec: KernelSpec, **images: Image) -> None:
        x, w = self.x, self.weights
        require(x.block > 1 and w.c == 1 and w.oc == x.c, spec, "every channel must have one kernel, lanes channels")
        require(min(self.oh, self.ow, self.sh, self.sw, w.kh, w.kw) > 0, spec, "sizes must be above 0")
        require_images(spec, (x.c, self.oh, self.ow), **images)


@dataclass(frozen=True)
class DepthwiseForward(KernelSpec):
    """y = z, with the bias where there is one. Overwritten, halo untouched."""

    conv: Depthwise
    y: Image

    @property
    def op(self) -> str:
        return "depthwise_fwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias)

    def slice_units(self) -> int:
        return self.y.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if self.y.halo else ""
        return f"{self.conv.tag(self.op)}{o}{tags(self.fused)}_{dtype_tag(self.y.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x, w [c, 1, kh, kw], b -> y."""
        x, w, b = inputs
        c = self.conv
        seen = patches(x, (w.shape[2], w.shape[3]), (c.sh, c.sw), c.pads)[:, :, : c.oh, : c.ow]
        return ((seen * w[:, 0][:, None, None]).sum((-1, -2)) + b.reshape(-1, 1, 1),)

    def check(self) -> None:
        super().check()
        self.conv.check(self, y=self.y)


@dataclass(frozen=True)
class DepthwiseBackwardInput(KernelSpec):
    """dx[c,h,w] = sum_{i,j} dz[c, (h+pt-i)/sh, (w+pl-j)/sw] * w[c,i,j] over the taps that divide. Overwritten."""

    conv: Depthwise
    dz: Image
    dx: Image

    @property
    def op(self) -> str:
        return "depthwise_dx"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = "".join(f"_{k}{halo_tag(image)}" for k, image in (("z", self.dz), ("d", self.dx)) if image.halo)
        bias = "" if self.conv.bias else "_nobias"
        return f"{self.conv.tag(self.op)}{halos}{bias}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """dz, w [c, 1, kh, kw] -> dx."""
        dz, w = inputs
        top, _, left, _ = self.conv.pads
        c, x = self.conv, self.conv.x
        # Rows and columns of x behind the last window are part of no patch.
        rows, columns = (c.oh - 1) * c.sh + w.shape[2], (c.ow - 1) * c.sw + w.shape[3]
        h, wide = max(x.h + top, rows), max(x.w + left, columns)
        values = dz[..., None, None] * w[:, 0][:, None, None]
        whole = scatter(values, (c.sh, c.sw), (0, 0, 0, 0), h, wide)
        return (whole[:, :, top : top + x.h, left : left + x.w],)

    def check(self) -> None:
        super().check()
        self.conv.check(self, dz=self.dz)
        require_images(self, (self.conv.x.c, self.conv.x.h, self.conv.x.w), dx=self.dx)


@dataclass(frozen=True)
class DepthwiseBackwardWeights(KernelSpec):
    """dw[c,i,j] = sum_{n,oh,ow} dz[n,c,oh,ow] * x[n,c,oh*sh+i-pt,ow*sw+j-pl]; db[c] = sum dz. Overwritten.

    Without bias the bias part of dw is not written. sample_parts: sums in parts (asmgen/plan/specs/sum_parts.py).
    """

    conv: Depthwise
    dz: Image
    sample_parts: int = 1

    def of_part(self) -> DepthwiseBackwardWeights:
        """What is computed for each part of the samples."""
        n = self.dz.n // self.sample_parts
        return replace(self, conv=self.conv.of_samples(n), dz=replace(self.dz, n=n), sample_parts=1)

    @property
    def dw(self) -> ConvWeights:
        return self.conv.weights

    @property
    def op(self) -> str:
        return "depthwise_dw"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias)

    def slice_units(self) -> int:
        return self.sample_parts * self.dz.n_c_blocks

    def stem(self) -> str:
        z = f"_z{halo_tag(self.dz)}" if self.dz.halo else ""
        return f"{self.conv.tag(self.op)}{z}{tags(self.fused)}{parts_tag(self.sample_parts)}_{dtype_tag(self.dz.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x, dz -> dw [c, 1, kh, kw], db (None without bias)."""
        x, dz = inputs
        c = self.conv
        window = c.weights.kh, c.weights.kw
        seen = patches(x, window, (c.sh, c.sw), c.pads)[:, :, : c.oh, : c.ow]
        dw = (seen * dz[..., None, None]).sum((0, 2, 3))[:, None]
        return dw, dz.sum((0, 2, 3)) if c.bias else None

    def check(self) -> None:
        super().check()
        self.conv.check(self, dz=self.dz)
        require(self.dz.n % self.sample_parts == 0, self, "the sample parts must be equal")
