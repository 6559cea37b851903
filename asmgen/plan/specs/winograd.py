"""Specs of the 3 x 3 convolution by Winograd's F(4 x 4, 3 x 3) and F(2 x 2, 3 x 3): asmgen/plan/winograd.py."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Image
from asmgen.plan.specs.activations import Activation
from asmgen.plan.specs.base import (
    KernelSpec,
    Pool,
    SliceKind,
    dtype_tag,
    fused_words,
    halo_tag,
    require,
    require_images,
    tags,
)
from asmgen.plan.specs.conv import Conv, check_input_gradient, codes_tag
from asmgen.plan.winograd import SIZES, TAPS, TRANSFORMS, TransformedWeights


@dataclass(frozen=True)
class Correlation:
    """What both directions compute: rows x cols sums over source[r+i-top, q+j-left] * g[i,j] and channels, from u."""

    source: Image
    top: int
    left: int
    rows: int
    cols: int
    u: TransformedWeights


@dataclass(frozen=True)
class WinogradWeights(KernelSpec):
    """u = G g G^T of every filter g; arguments: w, u.

    Forward: w is ConvWeights (lanes are output channels), and its bias is copied behind u. mirrored, for the input
    gradient: w has its input channels in lanes (ConvWeightsByInput, or the copy that `conv2d_pack_dx` makes, which is
    ConvWeights with oc and c swapped), taps are turned by 180 degrees, and no bias is read or written.
    """

    weights: ConvWeights | ConvWeightsByInput
    m: int
    mirrored: bool

    @property
    def taps(self) -> ConvWeights:
        """w as [outputs/V][inputs][3][3][V], whichever way the convolution's channels are named."""
        return self.weights if isinstance(self.weights, ConvWeights) else self.weights.taps

    @property
    def u(self) -> TransformedWeights:
        taps = self.taps
        return TransformedWeights(taps.oc, taps.c, self.m, taps.block, taps.dtype, self.mirrored)

    @property
    def u_bytes(self) -> int:
        return self.u.size_bytes

    @property
    def op(self) -> str:
        return f"winograd{self.m}_weights"

    def slice_units(self) -> int:
        return self.u.n_blocks

    def stem(self) -> str:
        w = self.taps
        copied = "" if isinstance(self.weights, ConvWeightsByInput) else "_of_copy"
        direction = f"_dx{copied}" if self.mirrored else ""
        return f"{self.op}{direction}_k{w.oc}c{w.c}_{dtype_tag(w.dtype)}"

    def flops(self) -> int:
        """A multiply and an add for every element of w and u that is not zero in G, row transform and column one."""
        transform = TRANSFORMS[self.m]
        nonzero = sum(1 for row in transform.g for tap in row if tap)
        return 2 * nonzero * (TAPS + transform.side) * self.taps.oc * self.taps.c

    def check(self) -> None:
        super().check()
        require(self.m in SIZES, self, f"m must be one of {SIZES}")
        require((self.weights.kh, self.weights.kw) == (TAPS, TAPS), self, "the kernel must be 3 x 3")
        by_input = isinstance(self.weights, ConvWeightsByInput)
        require(self.mirrored or not by_input, self, "the forward direction needs its output channels in lanes")


@dataclass(frozen=True)
class Conv2dForwardWinograd(KernelSpec):
    """y = pool(act(conv(x) + b)) as Conv2dForward, for 3 x 3 and stride 1, from u; arguments: x, u, y, codes.

    pool: none, or tiles of at most 2 x 2. z has at least m rows and columns.
    """

    conv: Conv
    y: Image
    act: Activation
    pool: Pool | None
    codes: bool
    m: int

    @property
    def u(self) -> TransformedWeights:
        w = self.conv.weights
        return TransformedWeights(w.oc, w.c, self.m, w.block, w.dtype, False)

    @property
    def u_bytes(self) -> int:
        return self.u.size_bytes

    @property
    def correlation(self) -> Correlation:
        conv = self.conv
        return Correlation(conv.x, conv.pt, conv.pl, conv.oh, conv.ow, self.u)

    @property
    def op(self) -> str:
        return f"conv2d_fwd_winograd{self.m}"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias, act=self.act, pool=self.pool)

    def slice_units(self) -> int:
        return self.conv.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        out = f"_o{halo_tag(self.y)}" if self.y.halo else ""
        fused = tags(self.fused) + codes_tag(self.codes, self.act, self.pool)
        return f"{self.conv.tag(self.op)}{out}{fused}_{dtype_tag(self.y.dtype)}"

    def flops(self) -> int:
        """Of the direct computation it replaces."""
        return 2 * self.conv.macs

    def multiplies(self) -> int:
        """The products of transformed elements, which take the place of `conv.macs`."""
        return _multiplies(self.conv, self.m, self.conv.oh, self.conv.ow)

    def check(self) -> None:
        super().check()
        conv = self.conv
        conv.check(self)
        require_images(self, (conv.weights.oc, self.y.h, self.y.w), y=self.y)
        _check_conv(self, conv, self.m)
        require(self.pool is None or self.pool.is_tiling, self, "only a tiling pool can be fused")
        require(self.act.traits.is_fusible, self, "activation cannot be fused")
        is_max = self.pool is not None and self.pool.kind == "max"
        require(self.act.traits.is_monotone or not is_max, self, "a maximum needs a monotone activation")
        require(not (self.codes and self.pool is None), self, "codes need a pool")
        require(is_max or not self.codes or self.act.traits.is_gate, self, "live bits do not tell this slope")
        ph, pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        require(max(ph, pw) <= 2, self, "a tile holds pooling windows of at most 2 x 2")
        require((self.y.h * ph, self.y.w * pw) == (conv.oh, conv.ow), self, "y does not fit z and pool")
        _check_correlation(self, self.correlation)


@dataclass(frozen=True)
class Conv2dBackwardInputWinograd(KernelSpec):
    """dx as Conv2dBackwardInput, for 3 x 3 and stride 1, from the mirrored u; arguments: dz, u, dx.

    A correlation of dz with the turned taps and pads of 2 - pt, 2 - pl: below 0 where dx begins behind dz's first rows
    and columns. dx has at least m rows and columns.
    """

    conv: Conv
    dz: Image
    dx: Image
    m: int

    @property
    def u(self) -> TransformedWeights:
        w = self.conv.weights
        return TransformedWeights(w.c, w.oc, self.m, w.block, w.dtype, True)

    @property
    def u_bytes(self) -> int:
        return self.u.size_bytes

    @property
    def correlation(self) -> Correlation:
        top, left = TAPS - 1 - self.conv.pt, TAPS - 1 - self.conv.pl
        return Correlation(self.dz, top, left, self.dx.h, self.dx.w, self.u)

    @property
    def op(self) -> str:
        return f"conv2d_dx_winograd{self.m}"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = f"_z{halo_tag(self.dz)}" + (f"_d{halo_tag(self.dx)}" if self.dx.halo else "")
        return f"{self.conv.tag(self.op)}{halos}{self.conv.bias_tag()}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        """Of the direct computation it replaces."""
        return 2 * self.conv.macs

    def multiplies(self) -> int:
        """The products of transformed elements, which take the place of `conv.macs`."""
        return _multiplies(self.conv, self.m, self.dx.h, self.dx.w)

    def check(self) -> None:
        super().check()
        check_input_gradient(self, self.conv, self.dx)
        require_images(self, self.conv.z_shape(), dz=self.dz)
        _check_conv(self, self.conv, self.m)
        _check_correlation(self, self.correlation)


def _multiplies(conv: Conv, m: int, rows: int, cols: int) -> int:
    tiles = -(-rows // m) * -(-cols // m)
    return conv.x.n * tiles * TRANSFORMS[m].n_positions * conv.weights.oc * conv.weights.c


def _check_conv(spec: KernelSpec, conv: Conv, m: int) -> None:
    w = conv.weights
    require(m in SIZES, spec, f"m must be one of {SIZES}")
    require((w.kh, w.kw, conv.sh, conv.sw) == (TAPS, TAPS, 1, 1), spec, "needs a 3 x 3 kernel and stride 1")
    require(conv.x.block == w.block, spec, "x must have its channels in lanes")


def _check_correlation(spec: KernelSpec, what: Correlation) -> None:
    source, halo = what.source, what.source.halo
    require(min(what.rows, what.cols) >= what.u.m, spec, "the output is smaller than a tile")
    inside = what.top <= halo.top and what.left <= halo.left
    inside &= what.rows + TAPS - 1 - what.top <= source.h + halo.bottom
    inside &= what.cols + TAPS - 1 - what.left <= source.w + halo.right
    require(inside, spec, "the taps reach beyond the halo of their source")
