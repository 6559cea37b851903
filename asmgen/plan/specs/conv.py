"""Specs of the convolution: forward with fused pool, both gradients, and the copy of the weights for dx."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Halo, Image
from asmgen.plan.specs.activations import Activation
from asmgen.plan.specs.base import (
    KernelSpec,
    Pool,
    SliceKind,
    affine_tag,
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
class Pixels:
    """The network's input as the data set has it: x[n,c] = u8 * scale[c] + shift[c], and 0 in the halo.

    The argument `pixels` is u64[n], the address of each sample's u8 image [c][h][w].
    """

    scale: tuple[float, ...]  # one per channel
    shift: tuple[float, ...]


@dataclass(frozen=True)
class Conv:
    """Geometry shared by the kernels of z[oc,oh,ow] = b[oc] + sum_{c,i,j} x[c, oh*sh+i-pt, ow*sw+j-pl] * w[oc,c,i,j].

    `oh`, `ow` are the rows and columns of z that are computed: with a fused pool, only those the pool reads. x has a
    halo at least as wide as the taps reach, so x offsets (oh*sh+i-pt) are always inside the buffer. With `pixels`, x is
    never stored: kernels make the rows that they need (`strip`), and their argument is `pixels` instead of x.
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
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        if self.pixels and self.x.block != 1:
            raise ValueError(f"Conv: pixels are planar, but x has blocks of {self.x.block} channels")

    def strip(self, n_rows: int, samples: int = 1, cols: int | None = None) -> Image:
        """Planar rows of x that n_rows rows of z read, the halo's rows among them; its columns are the strip's halo.

        cols: columns of z that are computed, where there are more than ow.
        """
        x, weights = self.x, self.weights
        right = max(0, ((cols or self.ow) - 1) * self.sw + weights.kw - self.pl - x.w)
        rows = (n_rows - 1) * self.sh + weights.kh
        return Image(samples, x.c, rows, x.w, 1, x.dtype, Halo(0, 0, self.pl, right))

    def dz_halo(self) -> Halo:
        """How far the input gradient's taps reach beyond dz: dx[h] needs dz[(h + pt - i) / sh] for every tap i."""
        kh, kw = self.weights.kh, self.weights.kw
        return Halo(
            max(0, (kh - 1 - self.pt) // self.sh),
            max(0, (self.x.h - 1 + self.pt) // self.sh - (self.oh - 1)),
            max(0, (kw - 1 - self.pl) // self.sw),
            max(0, (self.x.w - 1 + self.pl) // self.sw - (self.ow - 1)),
        )

    @property
    def has_windows_of_zeros(self) -> bool:
        """Whether an output lies that far outside that it reads nothing but padding: z is the bias, exactly."""
        below, beside = (self.oh - 1) * self.sh - self.pt, (self.ow - 1) * self.sw - self.pl
        return self.pt >= self.weights.kh or self.pl >= self.weights.kw or below >= self.x.h or beside >= self.x.w

    def of_samples(self, n: int) -> Conv:
        """The same for another number of samples."""
        return replace(self, x=replace(self.x, n=n))

    @property
    def macs(self) -> int:
        w = self.weights
        return self.x.n * self.oh * self.ow * w.oc * w.c * w.kh * w.kw

    def tag(self, op: str) -> str:
        """Where a symbol begins: `conv3s2_fwd_n16c32h64w64p1_k64` of conv2d_fwd, `live_entries_conv3s2_n...`."""
        w = self.weights
        stride = (
            "" if (self.sh, self.sw) == (1, 1) else f"s{self.sh}" if self.sh == self.sw else f"s{self.sh}x{self.sw}"
        )
        pad = f"t{self.pt}l{self.pl}" if (self.pt, self.pl) != (self.x.halo.top, self.x.halo.left) else ""
        block = "u8" if self.pixels else "planar" if self.x.block == 1 else ""
        affine = affine_tag(self.pixels.scale, self.pixels.shift) if self.pixels else ""
        x, at = self.x, self.x.halo
        whole = (x.h + at.top + at.bottom - w.kh) // self.sh + 1, (x.w + at.left + at.right - w.kw) // self.sw + 1
        rows = "" if (self.oh, self.ow) == whole else f"o{self.oh}x{self.ow}"
        named = op if op.startswith("conv2d") else f"{op}_conv2d"
        return f"{of_taps(named, w, stride + pad)}_n{x.n}{image_tag(x)}{block}{affine}_k{w.oc}{rows}"

    def bias_tag(self) -> str:
        """`_nobias`, or nothing: of kernels that do not read the bias and belong to a convolution that may have one."""
        return "" if self.bias else "_nobias"

    def check(self, spec: KernelSpec) -> None:
        """Raise ValueError where its parts do not fit each other. spec: which it is part of."""
        require(self.weights.c == self.x.c, spec, "x does not have the weights' channels")
        least = min(self.sh, self.sw, self.oh, self.ow, self.weights.kh, self.weights.kw)
        require(least > 0, spec, "strides, taps and outputs are at least 1")
        if self.pixels:
            fits = len(self.pixels.scale) == len(self.pixels.shift) == self.x.c
            require(fits, spec, "pixels need a scale and a shift for each channel")

    def z_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of z."""
        return self.weights.oc, self.oh, self.ow


@dataclass(frozen=True)
class Conv2dForward(KernelSpec):
    """y = pool(act(conv(x) + b)), in one kernel; z is never stored.

    pool is None or tiling. The activation is fusible; with max-pooling it is monotone and applied after the maximum.
    `codes`: whether rcx receives the u8 argmax codes (max) or live bits (average with a gate). y may have a halo (it
    is not written) and its pad lanes are written with zeros.
    """

    conv: Conv
    y: Image
    act: Activation
    pool: Pool | None
    codes: bool

    @property
    def op(self) -> str:
        return "conv2d_fwd"

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
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        self.conv.check(self)
        require_images(self, (self.conv.weights.oc, self.y.h, self.y.w), y=self.y)
        require(self.pool is None or self.pool.is_tiling, self, "only a tiling pool can be fused")
        require(self.act.traits.is_fusible, self, "activation cannot be fused")
        is_max = self.pool is not None and self.pool.kind == "max"
        require(self.act.traits.is_monotone or not is_max, self, "a maximum needs a monotone activation")
        require(not (self.codes and self.pool is None), self, "codes need a pool")
        require(is_max or not self.codes or self.act.traits.is_gate, self, "live bits do not tell this slope")
        ph, pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        require((self.y.h * ph, self.y.w * pw) == (self.conv.oh, self.conv.ow), self, "y does not fit z and pool")
        require(
            not (self.pool and self.pool.kind == "avg" and self.codes and ph * pw > 8),
            self,
            "live bits need a window of <= 8",
        )


@dataclass(frozen=True)
class Conv2dUnpool(KernelSpec):
    """dz from dy: through the pool (argmax codes, or average) and the activation. dz has the halo that dx needs.

    max: dz[position] = (argmax == position) * dy * f'(y), every position of the window is written.
    avg: dz[position] = dy / (ph*pw) * f'(z) with f' from the live bits. No pool: dz = dy * f'(y).
    The activation is a gate: f' = y > 0 ? 1 : alpha (relu: alpha = 0), or none: f' = 1. dz's halo is never written.
    """

    dy: Image
    y: Image
    dz: Image
    act: Activation
    pool: Pool | None

    @property
    def reads_y(self) -> bool:
        """Whether f' comes from y; behind an average it comes from the codes."""
        return bool(self.act) and not self._is_average

    @property
    def reads_codes(self) -> bool:
        return self.pool is not None and (not self._is_average or bool(self.act))

    @property
    def _is_average(self) -> bool:
        return self.pool is not None and self.pool.kind == "avg"

    @property
    def op(self) -> str:
        return "conv2d_unpool"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(act=self.act, pool=self.pool)

    def slice_units(self) -> int:
        return self.dz.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        z = f"_z{halo_tag(self.dz)}" if self.dz.halo else ""
        return f"{self.op}_n{self.dz.n}{image_tag(self.y)}{d}{z}{tags(self.fused)}_{dtype_tag(self.dz.dtype)}"

    def flops(self) -> int:
        return self.dz.n * self.dz.c * self.dz.h * self.dz.w

    def check(self) -> None:
        super().check()
        ph, pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        require(self.pool is None or self.pool.is_tiling, self, "only a tiling pool")
        require_images(self, (self.dz.c, self.dz.h // ph, self.dz.w // pw), y=self.y, dy=self.dy)
        require_images(self, (self.y.c, self.y.h * ph, self.y.w * pw), dz=self.dz)
        require(self.act.traits.is_gate, self, "the slope is not told by the sign of y")


@dataclass(frozen=True)
class Conv2dBackwardInput(KernelSpec):
    """dx[c,h,w] = sum_{oc,i,j} dz[oc, (h+pt-i)/sh, (w+pl-j)/sw] * w[oc,c,i,j] over the taps that divide; overwritten.

    w is the copy with lanes = input channels (`conv.weights.input_gradient()`); dz has a halo so that every tap
    reads inside its buffer. dx may have a halo (not written).
    """

    conv: Conv
    dz: Image
    dx: Image

    @property
    def op(self) -> str:
        return "conv2d_dx"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = f"_z{halo_tag(self.dz)}" + (f"_d{halo_tag(self.dx)}" if self.dx.halo else "")
        return f"{self.conv.tag(self.op)}{halos}{self.conv.bias_tag()}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        check_input_gradient(self, self.conv, self.dx)
        require_images(self, self.conv.z_shape(), dz=self.dz)


@dataclass(frozen=True)
class Conv2dBackwardWeights(KernelSpec):
    """dw[oc,c,i,j] = sum_{n,oh,ow} dz[n,oc,oh,ow] * x[n,c,oh*sh+i-pt,ow*sw+j-pl]; db[oc] = sum dz. Overwritten.

    Without bias the bias part of dw is not written. sample_parts: sums in parts (asmgen/plan/specs/sum_parts.py).
    """

    conv: Conv
    dz: Image
    sample_parts: int = 1

    def of_part(self) -> Conv2dBackwardWeights:
        """What is computed for each part of the samples."""
        n = self.dz.n // self.sample_parts
        return replace(self, conv=self.conv.of_samples(n), dz=replace(self.dz, n=n), sample_parts=1)

    @property
    def dw(self) -> ConvWeights:
        return self.conv.weights

    @property
    def op(self) -> str:
        return "conv2d_dw"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias)

    def slice_units(self) -> int:
        return self.sample_parts * self.conv.weights.n_oc_blocks

    def stem(self) -> str:
        z = f"_z{halo_tag(self.dz)}" if self.dz.halo else ""
        return f"{self.conv.tag(self.op)}{z}{tags(self.fused)}{parts_tag(self.sample_parts)}_{dtype_tag(self.dz.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        self.conv.check(self)
        require_images(self, self.conv.z_shape(), dz=self.dz)
        require(self.dz.n % self.sample_parts == 0, self, "the sample parts must be equal")


@dataclass(frozen=True)
class Conv2dPackBackwardInput(KernelSpec):
    """w_dx[c/V][oc][kh][kw][V] = w[oc/V][c][kh][kw][V], transposed; pad lanes zero."""

    weights: ConvWeights

    @property
    def op(self) -> str:
        return "conv2d_pack_dx"

    def slice_units(self) -> int:
        return self.weights.input_gradient().n_oc_blocks

    def stem(self) -> str:
        w = self.weights
        return f"{of_taps(self.op, w)}_k{w.oc}c{w.c}_{dtype_tag(w.dtype)}"

    def flops(self) -> int:
        return 0


def of_taps(op: str, weights: ConvWeights | ConvWeightsByInput, more: str = "") -> str:
    """`conv3_dw` of `conv2d_dw`, `conv3x5s2_dw` of other taps and with `more` behind them."""
    taps = f"{weights.kh}" if weights.kh == weights.kw else f"{weights.kh}x{weights.kw}"
    return op.replace("conv2d", f"conv{taps}{more}")


def codes_tag(codes: bool, act: Activation, pool: Pool | None) -> str:
    """`_codes`, `_nocodes`, or nothing where a plan has them as the pool's gradient needs them."""
    needed = pool is not None and (pool.kind == "max" or bool(act))
    return "" if codes == needed else "_codes" if codes else "_nocodes"


def check_input_gradient(spec: KernelSpec, conv: Conv, dx: Image) -> None:
    """Raise ValueError unless dx is the gradient of the convolution's input."""
    conv.check(spec)
    require(conv.pixels is None, spec, "pixels have no gradient")
    require_images(spec, (conv.x.c, conv.x.h, conv.x.w), dx=dx)
