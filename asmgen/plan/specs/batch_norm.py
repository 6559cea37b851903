"""Specs of batch normalisation. Formulas: asmgen/ops/batch_norm.py.

parts -> moments -> fwd; gradient parts -> dw -> dx. Parts are sums over one sample, so that they need no other thread;
what adds them up takes the samples in their order, so the bits do not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asmgen.ops.batch_norm import along
from asmgen.plan.layout import Activations, ChannelVectors, Image, NormTable, RunningVectors, pixels_of
from asmgen.plan.specs.activations import Activation, op_of
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    activations_tag,
    dtype_tag,
    fused_words,
    halo_tag,
    number_tag,
    require,
    require_same,
    tags,
)


class Moments(NamedTuple):
    """What NormTable.MOMENTS names, in NumPy: [c] each, and the numbers m and present."""

    mean: Any
    var: Any
    rstd: Any
    scale: Any
    shift: Any
    m: int
    present: int


class Terms(NamedTuple):
    """What NormTable.TERMS names, in NumPy."""

    mean: Any
    scale: Any
    shift: Any
    db: Any
    dw: Any
    present: int


@dataclass(frozen=True)
class _Samples(KernelSpec):
    """Base of the kernels that walk x, sample by sample."""

    x: Activations

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    @property
    def values(self) -> int:
        """Of all samples, padding included."""
        vectors = ChannelVectors.of(self.x)
        return self.x.n * vectors.n_blocks * vectors.block * pixels_of(self.x)


@dataclass(frozen=True)
class _Channels(KernelSpec):
    """Base of the kernels that work on the channels of x, block by block. They read no pixels: x has no halo."""

    x: Activations

    @property
    def vectors(self) -> ChannelVectors:
        return ChannelVectors.of(self.x)

    @property
    def moments(self) -> NormTable:
        return NormTable(self.vectors, NormTable.MOMENTS)

    @property
    def terms(self) -> NormTable:
        return NormTable(self.vectors, NormTable.TERMS)

    @property
    def pixels(self) -> int:
        return pixels_of(self.x)

    def slice_units(self) -> int:
        return self.vectors.n_blocks

    def check(self) -> None:
        super().check()
        require(
            not isinstance(self.x, Image) or (not self.x.halo and self.x.block > 1), self, "x has a halo, or is planar"
        )

    def tail(self) -> str:
        return f"{_tag(self.x)}_{dtype_tag(self.x.dtype)}"


@dataclass(frozen=True)
class BatchNormParts(_Samples):
    """Of each sample and channel: the mean of its pixels, and the sum of their squared distances from it."""

    @property
    def op(self) -> str:
        return "batch_norm_parts"

    def stem(self) -> str:
        return f"{self.op}_{activations_tag(self.x)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 4 * self.values

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x)

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x -> (means, sums), [n, c] each."""
        (x,) = inputs
        flat = np.reshape(x, (*x.shape[:2], -1))
        one = flat[..., 0]  # so that float64 itself loses nothing where means are far from zero
        means = one + (flat - one[..., None]).mean(-1)
        return ((means, ((flat - means[..., None]) ** 2).sum(-1)),)


@dataclass(frozen=True)
class BatchNormMoments(_Channels):
    """mean, var, 1 / sqrt(var + eps) = rstd, scale = rstd * weight and shift = bias of the samples present.

    has_scale, has_bias: whether there is a weight (else 1), a bias (else 0). The loss block says how many are present.
    """

    eps: float
    has_scale: bool
    has_bias: bool

    @property
    def op(self) -> str:
        return "batch_norm_moments"

    def stem(self) -> str:
        return f"{self.op}_{_parameters_tag(self)}{self.tail()}"

    def flops(self) -> int:
        return 6 * self.x.n * self.vectors.n_blocks * self.vectors.block

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """Parts, (weight, bias), present -> moments."""
        (means, sums), parameters, present = inputs
        means, sums = means[:present], sums[:present]
        mean = means.mean(0)
        m = present * self.pixels
        var = (sums.sum(0) + self.pixels * ((means - mean) ** 2).sum(0)) / m
        return (_moments(self, mean, var, parameters, m, present),)


@dataclass(frozen=True)
class BatchNormFrozen(_Channels):
    """What BatchNormMoments makes, of the running statistics; "1/m" and "present" are not written."""

    eps: float
    has_scale: bool
    has_bias: bool

    @property
    def op(self) -> str:
        return "batch_norm_frozen"

    @property
    def running(self) -> RunningVectors:
        return RunningVectors(self.vectors)

    def stem(self) -> str:
        return f"{self.op}_{_parameters_tag(self)}{self.tail()}"

    def flops(self) -> int:
        return 4 * self.vectors.n_blocks * self.vectors.block

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """(running mean, running variance, count), (weight, bias) -> moments."""
        (mean, var, _), parameters = inputs
        return (_moments(self, mean, var, parameters, 0, 0),)


@dataclass(frozen=True)
class BatchNormRunning(KernelSpec):
    """The running statistics moved by `momentum` of their distance from the batch's (None: by 1 / count), in place.

    One unit: the count belongs to all channels.
    """

    running: RunningVectors
    momentum: float | None

    @property
    def op(self) -> str:
        return "batch_norm_running"

    @property
    def moments(self) -> NormTable:
        return NormTable(self.running.vectors, NormTable.MOMENTS)

    def slice_units(self) -> int:
        return 1

    def stem(self) -> str:
        vectors = self.running.vectors
        share = "mean" if self.momentum is None else f"m{number_tag(self.momentum)}"
        image = vectors.source
        source = f"c{image.c}h{image.h}w{image.w}" if image else ""
        return f"{self.op}_{share}_c{vectors.c}v{vectors.n_blocks}{source}_{dtype_tag(vectors.dtype)}"

    def flops(self) -> int:
        return 8 * self.running.vectors.n_blocks * self.running.vectors.block

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """Moments, (running mean, running variance, count) -> the same of the next step."""
        moments, (mean, var, count) = inputs
        share = 1 / (count + 1) if self.momentum is None else self.momentum
        unbiased = moments.var / (1 - 1 / moments.m)
        return ((mean + share * (moments.mean - mean), var + share * (unbiased - var), count + 1),)


@dataclass(frozen=True)
class BatchNormForward(_Samples):
    """y = act((x - mean) * scale + shift [+ other]); y may be x. Pad lanes stay zero, y's halo is not written."""

    y: Activations
    act: Activation
    other: Activations | None = None

    @property
    def op(self) -> str:
        return "batch_norm_fwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return ("add",) * (self.other is not None) + fused_words(act=self.act)

    def stem(self) -> str:
        halos = _halos(x=self.x, a=self.other, o=self.y)
        tag = f"{_tag(self.x)}{halos}{tags(self.fused)}"
        return f"{self.op}_{tag}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return (3 + (self.other is not None)) * self.values

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x, moments, what is added if anything is -> y."""
        x, found, *other = inputs
        z = (x - along(found.mean, x)) * along(found.scale, x) + along(found.shift, x) + sum(other)
        return (op_of(self.act).f(z) if self.act else z,)

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, y=self.y, **({"other": self.other} if self.other is not None else {}))
        require(not self.act or self.act.traits.is_fusible, self, "the activation is not fusible")


@dataclass(frozen=True)
class BatchNormGradientParts(_Samples):
    """Of each sample and channel: the sum of dz, and of dz (x - mean); dz = dy * act'(y).

    Which side of its gate a value is on is found again: y = (x - mean) * scale + shift, with forward's operations.
    """

    dy: Activations
    act: Activation

    @property
    def op(self) -> str:
        return "batch_norm_gradient_parts"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(act=self.act)

    def stem(self) -> str:
        halos = _halos(x=self.x, d=self.dy)
        tag = f"{_tag(self.x)}{halos}{tags(self.fused)}"
        return f"{self.op}_{tag}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 4 * self.values

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """dy, x, moments, y (which decides where the gate is) -> (sums, weighted sums), [n, c] each."""
        dy, x, moments, *y = inputs
        dz = _gated(self.act, dy, *y)
        axes = tuple(range(2, x.ndim))
        return ((dz.sum(axes), (dz * (x - along(moments.mean, x))).sum(axes)),)

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, dy=self.dy)
        _check_gate(self, self.act)


@dataclass(frozen=True)
class BatchNormBackwardWeights(_Channels):
    """dw and db from the parts of the samples present, and the terms of dx: db / m * scale, dw / m * scale * rstd.

    has_scale, has_bias: whether dw, db are written (else zeros).
    """

    has_scale: bool
    has_bias: bool

    @property
    def op(self) -> str:
        return "batch_norm_dw"

    def stem(self) -> str:
        return f"{self.op}_{_parameters_tag(self)}{self.tail()}"

    def flops(self) -> int:
        return 2 * self.x.n * self.vectors.n_blocks * self.vectors.block

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """Parts, moments -> (dw, db), terms."""
        (sums, weighted), of = inputs
        db = sums[: of.present].sum(0)
        dw = weighted[: of.present].sum(0) * of.rstd
        gradient = dw if self.has_scale else np.zeros_like(dw), db if self.has_bias else np.zeros_like(db)
        factor = of.scale / of.m
        return gradient, Terms(of.mean, of.scale, of.shift, db * factor, dw * factor * of.rstd, of.present)


@dataclass(frozen=True)
class BatchNormBackwardInput(_Samples):
    """dx = dz * scale - db term - (x - mean) * dw term, dz as in BatchNormGradientParts; 0 for absent samples.

    dx may be dy. Pad lanes stay zero.
    """

    dy: Activations
    dx: Activations
    act: Activation

    @property
    def op(self) -> str:
        return "batch_norm_dx"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(act=self.act)

    def stem(self) -> str:
        halos = _halos(x=self.x, d=self.dy, o=self.dx)
        tag = f"{_tag(self.x)}{halos}{tags(self.fused)}"
        return f"{self.op}_{tag}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 5 * self.values

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """dy, x, terms, y -> dx."""
        dy, x, terms, *y = inputs
        dz = _gated(self.act, dy, *y)
        dx = dz * along(terms.scale, x) - along(terms.db, x) - (x - along(terms.mean, x)) * along(terms.dw, x)
        dx[terms.present :] = 0.0
        return (dx,)

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, dy=self.dy, dx=self.dx)
        _check_gate(self, self.act)


def _gated(act: Activation, dy: Any, *y: Any) -> Any:
    return dy * op_of(act).slope(y[0]) if act else dy


def _check_gate(spec: KernelSpec, act: Activation) -> None:
    require(act.traits.is_gate, spec, "the activation is not a gate")


def _moments(
    spec: BatchNormMoments | BatchNormFrozen, mean: Any, var: Any, parameters: Any, m: int, present: int
) -> Moments:
    weight, bias = parameters or (1.0, 0.0)
    rstd = 1 / np.sqrt(var + spec.eps)
    scale, shift = rstd * weight if spec.has_scale else rstd, bias if spec.has_bias else np.zeros_like(rstd)
    return Moments(mean, var, rstd, scale, shift, m, present)


def _tag(x: Activations) -> str:
    """The shape, without halos."""
    return activations_tag(Image(x.n, x.c, x.h, x.w, x.block, x.dtype) if isinstance(x, Image) else x)


def _halos(**layouts: Activations | None) -> str:
    return "".join(
        f"_{name}{halo_tag(layout)}" for name, layout in layouts.items() if isinstance(layout, Image) and layout.halo
    )


def _parameters_tag(spec: BatchNormMoments | BatchNormFrozen | BatchNormBackwardWeights) -> str:
    """What is not as usual, and eps."""
    eps = f"eps{number_tag(spec.eps)}_" if not isinstance(spec, BatchNormBackwardWeights) and spec.eps != 1e-5 else ""
    return eps + "noscale_" * (not spec.has_scale) + "nobias_" * (not spec.has_bias)
