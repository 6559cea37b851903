"""Specs of the gradients behind a max pool, computed from the pooled gradient.

Behind conv + activation + max pool all but one position of every window have a gradient of exactly zero, and a ReLU
takes more. Walking the entries that are left ("sparse"), or making the others where they are needed ("pooled"),
computes the same sums as the dense kernels, without ever storing the gradient of the convolution's output. Windows may
have any size and stride; where they overlap, what several of them give to a position adds up. All specs here read dy
after the activation's gradient was applied to it (`act_bwd` in place on the pooled tensor), so that an entry is live
where dy != 0. sample_parts: sums in parts (asmgen/plan/specs/sum_parts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from asmgen.plan.layout import ConvWeights, ConvWeightsByInput, Image
from asmgen.plan.live_list import LiveList
from asmgen.plan.specs.base import (
    MAX_CODES,
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
from asmgen.plan.specs.conv import Conv, check_input_gradient, of_taps
from asmgen.plan.specs.sum_parts import parts_tag


@dataclass(frozen=True)
class Conv2dBackwardWeightsSparse(KernelSpec):
    """dw[c/V][oc][kh][kw][V] and db behind it (layout `conv.weights.by_input()`), lanes are input channels.

    dw[oc,c,i,j] = sum over n and live pooled pixels p of dy[n,oc,p] * x[n,c,h(p)*sh+i-pt,w(p)*sw+j-pl], where h(p) =
    p's row * pool.sh + code / pw, w(p) = p's column * pool.sw + code % pw (without a pool: p itself). x has lanes =
    channels. Arguments: x, dy, codes, dw.
    """

    conv: Conv
    dy: Image
    pool: Pool | None
    sample_parts: int = 1

    def of_part(self) -> Conv2dBackwardWeightsSparse:
        """What is computed for each part of the samples."""
        n = self.dy.n // self.sample_parts
        return replace(self, conv=self.conv.of_samples(n), dy=replace(self.dy, n=n), sample_parts=1)

    @property
    def dw(self) -> ConvWeightsByInput:
        return self.conv.weights.by_input()

    @property
    def op(self) -> str:
        return "conv2d_dw_sparse"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias, pool=self.pool)

    def slice_units(self) -> int:
        return self.sample_parts * self.conv.weights.n_oc_blocks

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        sums = tags(self.fused) + parts_tag(self.sample_parts)
        return f"{self.conv.tag(self.op)}{d}{sums}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        """Of the dense computation it replaces."""
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        require(self.dy.n % self.sample_parts == 0, self, "the sample parts must be equal")
        _check_windows(self)
        require(self.conv.x.block == self.conv.weights.block, self, "x must have its channels in lanes")


@dataclass(frozen=True)
class Conv2dBackwardWeightsPooled(KernelSpec):
    """dw[oc/V][c][kh][kw][V] and db behind it, lanes are output channels.

    The same sums as Conv2dBackwardWeights, with dz[position] = (code == position) ? dy : 0, for each window, made where
    it is used instead of read from memory. Arguments: x (or pixels), dy, codes, dw.
    """

    conv: Conv
    dy: Image
    pool: Pool
    sample_parts: int = 1

    def of_part(self) -> Conv2dBackwardWeightsPooled:
        """What is computed for each part of the samples."""
        n = self.dy.n // self.sample_parts
        return replace(self, conv=self.conv.of_samples(n), dy=replace(self.dy, n=n), sample_parts=1)

    @property
    def dw(self) -> ConvWeights:
        return self.conv.weights

    @property
    def op(self) -> str:
        return "conv2d_dw_pooled"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(bias=self.conv.bias, pool=self.pool)

    def slice_units(self) -> int:
        return self.sample_parts * self.conv.weights.n_oc_blocks

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        sums = tags(self.fused) + parts_tag(self.sample_parts)
        return f"{self.conv.tag(self.op)}{d}{sums}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        require(self.dy.n % self.sample_parts == 0, self, "the sample parts must be equal")
        _check_windows(self)


@dataclass(frozen=True)
class Conv2dBackwardInputPooled(KernelSpec):
    """dx[n,c,h,w]: the same sums as Conv2dBackwardInput, with dz[position] = (code == position) ? dy : 0 made where it
    is used instead of read from memory; overwritten.

    w is the copy with lanes = input channels (`conv.weights.input_gradient()`). dx may have a halo, which is not
    written. Arguments: dy, codes, w, dx.
    """

    conv: Conv
    dy: Image
    dx: Image
    pool: Pool

    @property
    def op(self) -> str:
        return "conv2d_dx_pooled"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(pool=self.pool)

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = (f"_d{halo_tag(self.dy)}" if self.dy.halo else "") + (f"_o{halo_tag(self.dx)}" if self.dx.halo else "")
        entries = self.conv.bias_tag() + tags(self.fused)
        return f"{self.conv.tag(self.op)}{halos}{entries}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        _check_windows(self)
        check_input_gradient(self, self.conv, self.dx)
        require(self.pool.is_tiling, self, "needs windows that tile")


@dataclass(frozen=True)
class Conv2dPackForward(KernelSpec):
    """The copy that forward reads: w_fwd[oc/V][c][kh][kw][V] = w[c/V][oc][kh][kw][V], bias behind."""

    weights: ConvWeightsByInput

    @property
    def op(self) -> str:
        return "conv2d_pack_fwd"

    def slice_units(self) -> int:
        return self.weights.by_output().n_oc_blocks

    def stem(self) -> str:
        w = self.weights
        return f"{of_taps(self.op, w)}_k{w.oc}c{w.c}_{dtype_tag(w.dtype)}"

    def flops(self) -> int:
        return 0


@dataclass(frozen=True)
class LiveEntries(KernelSpec):
    """The live entries of dy as lists that Conv2dBackwardInputSparse walks; arguments: dy, codes, list.

    The lists' layout is `live` (asmgen/plan/live_list.py), with codes or a mask for each position. Without a pool the
    codes are not read.
    """

    conv: Conv
    dy: Image
    pool: Pool | None
    has_codes: bool = False

    @property
    def live(self) -> LiveList:
        return _live_list(self)

    @property
    def list_bytes(self) -> int:
        """Bytes of the list of one sample, a multiple of 64."""
        return self.live.sample_bytes

    @property
    def op(self) -> str:
        return "live_entries"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(pool=self.pool)

    def slice_units(self) -> int:
        return self.dy.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if self.dy.halo else ""
        entries = self.conv.bias_tag() + tags(self.fused) + ("_codes" if self.has_codes else "")
        return f"{self.conv.tag(self.op)}{d}{entries}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        return 0

    def check(self) -> None:
        super().check()
        _check_windows(self)
        _check_list(self)


@dataclass(frozen=True)
class Conv2dBackwardInputSparse(KernelSpec):
    """dx[n,c,h,w] = the sum over live entries of dy * w[oc,c,i,j] at the pixel that tap (i, j) reads; overwritten.

    w has lanes = input channels (`conv.weights.by_input()`). Arguments: list, w, dx. dx may have a halo, which is
    not written.
    """

    conv: Conv
    dy: Image
    dx: Image
    pool: Pool | None
    has_codes: bool = False

    @property
    def live(self) -> LiveList:
        """The layout of the lists that it walks."""
        return _live_list(self)

    @property
    def op(self) -> str:
        return "conv2d_dx_sparse"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(pool=self.pool)

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = (f"_d{halo_tag(self.dy)}" if self.dy.halo else "") + (f"_o{halo_tag(self.dx)}" if self.dx.halo else "")
        entries = self.conv.bias_tag() + tags(self.fused) + ("_codes" if self.has_codes else "")
        return f"{self.conv.tag(self.op)}{halos}{entries}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        """Of the dense computation it replaces."""
        return 2 * self.conv.macs

    def check(self) -> None:
        super().check()
        _check_windows(self)
        _check_list(self)
        check_input_gradient(self, self.conv, self.dx)


def _live_list(spec: LiveEntries | Conv2dBackwardInputSparse) -> LiveList:
    n_positions = spec.pool.n_positions if spec.pool else 1
    return LiveList.of(spec.conv.weights, spec.dy, n_positions, spec.has_codes)


def _check_list(spec: LiveEntries | Conv2dBackwardInputSparse) -> None:
    require(spec.pool is not None or not spec.has_codes, spec, "codes need a pool")


_Windowed = (
    LiveEntries
    | Conv2dBackwardInputSparse
    | Conv2dBackwardInputPooled
    | Conv2dBackwardWeightsSparse
    | Conv2dBackwardWeightsPooled
)


def _check_windows(spec: _Windowed) -> None:
    """Raise ValueError unless the windows of dy are those of the convolution's output."""
    pool, conv, dy = spec.pool, spec.conv, spec.dy
    conv.check(spec)
    require_images(spec, (conv.weights.oc, dy.h, dy.w), dy=dy)
    require(pool is None or (pool.kind == "max" and pool.n_positions <= MAX_CODES), spec, "needs a max pool with codes")
    extent = pool.extent(dy.h, dy.w) if pool else (dy.h, dy.w)
    require(extent == (conv.oh, conv.ow), spec, "dy does not fit z and pool")
