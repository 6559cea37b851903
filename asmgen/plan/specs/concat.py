"""Specs of one input of a concatenation along channels, and of its gradient.

A concatenation is a kernel an input: each writes its own range of channels, wherever in a vector that begins and ends,
and leaves the lanes of its neighbours alone. The last one also clears the pad lanes behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs.base import KernelSpec, SliceKind, activations_tag, dtype_tag, halo_tag, require, require_rows

_PIXEL = {Image: ",h,w", Rows: ""}  # in formulas


@dataclass(frozen=True)
class ChannelRange:
    """part = whole[:, c0 : c0 + c]; channels of rows are their features.

    carried: channels that are moved. Behind the last part they include its pad lanes, as many as whole has place for:
    they are zeros on either side.
    """

    part: Activations
    whole: Activations
    c0: int

    @property
    def is_last(self) -> bool:
        """Whether no part lies behind this one."""
        return self.c0 + n_channels(self.part) == n_channels(self.whole)

    @property
    def carried(self) -> int:
        if not self.is_last:
            return n_channels(self.part)
        return min(_n_padded(self.part), _n_padded(self.whole) - self.c0)

    @property
    def part_zeros(self) -> int:
        """Pad lanes of part behind the channels that are carried."""
        return _n_padded(self.part) - self.carried

    @property
    def whole_zeros(self) -> int:
        """Pad lanes of whole behind the channels that are carried; 0 where another part lies there."""
        return _n_padded(self.whole) - self.c0 - self.carried if self.is_last else 0

    def of(self, array: np.ndarray) -> np.ndarray:
        """The part of a logical array of the whole, [n, c, h, w] or [n, c]."""
        return array[:, self.c0 : self.c0 + n_channels(self.part)]

    def text(self) -> str:
        """`16..31 of 64`."""
        return f"{self.c0}..{self.c0 + n_channels(self.part) - 1} of {n_channels(self.whole)}"

    def check(self, spec: KernelSpec) -> None:
        """Raise ValueError where the part is none of the whole."""
        part, whole = self.part, self.whole
        for name, rows in (("part", part), ("whole", whole)):
            if isinstance(rows, Rows):
                require_rows(spec, rows.features, **{name: rows})
        require(_frame(part) == _frame(whole), spec, "part and whole differ in more than channels and halo")
        fits = self.c0 >= 0 and self.c0 + n_channels(part) <= n_channels(whole)
        require(fits, spec, f"there are no channels {self.text()}")


@dataclass(frozen=True)
class ConcatForward(KernelSpec):
    """y[:, c0 : c0 + c] = x; other channels of y stay, and its halo. Only the last input clears y's pad lanes."""

    x: Activations
    y: Activations
    c0: int

    @property
    def range(self) -> ChannelRange:
        return ChannelRange(self.x, self.y, self.c0)

    @property
    def op(self) -> str:
        return "concat_fwd"

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if isinstance(self.y, Image) and self.y.halo else ""
        at = f"at{self.c0}of{n_channels(self.y)}"
        return f"{self.op}_{activations_tag(self.x)}_{at}{o}_{dtype_tag(self.x.dtype)}"

    def formula(self) -> str:
        return f"y[n,c+{self.c0}{_PIXEL[type(self.x)]}] = x[n,c{_PIXEL[type(self.x)]}]"

    def flops(self) -> int:
        return 0

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """x, y as other inputs left it (none: zeros) -> y."""
        x, *before = inputs
        shape = (len(x), n_channels(self.y), *x.shape[2:])
        y = before[0].copy() if before and before[0] is not None else np.zeros(shape)
        self.range.of(y)[:] = x
        return (y,)

    def check(self) -> None:
        super().check()
        self.range.check(self)


@dataclass(frozen=True)
class ConcatBackward(KernelSpec):
    """dx = dy[:, c0 : c0 + c]. Overwritten, pad lanes with zeros; halo untouched."""

    dy: Activations
    dx: Activations
    c0: int

    @property
    def range(self) -> ChannelRange:
        return ChannelRange(self.dx, self.dy, self.c0)

    @property
    def op(self) -> str:
        return "concat_bwd"

    def slice_units(self) -> int:
        return self.dx.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        d = f"_d{halo_tag(self.dy)}" if isinstance(self.dy, Image) and self.dy.halo else ""
        at = f"at{self.c0}of{n_channels(self.dy)}"
        return f"{self.op}_{activations_tag(self.dx)}_{at}{d}_{dtype_tag(self.dx.dtype)}"

    def formula(self) -> str:
        return f"dx[n,c{_PIXEL[type(self.dx)]}] = dy[n,c+{self.c0}{_PIXEL[type(self.dx)]}]"

    def flops(self) -> int:
        return 0

    def compute(self, *inputs: Any) -> tuple[Any, ...]:
        """dy -> dx."""
        return (self.range.of(inputs[0]).copy(),)

    def check(self) -> None:
        super().check()
        self.range.check(self)


def n_channels(layout: Activations) -> int:
    return layout.c if isinstance(layout, Image) else layout.features


def _n_padded(layout: Activations) -> int:
    """Channels with pad lanes."""
    return layout.n_c_blocks * layout.block if isinstance(layout, Image) else layout.stride


def _frame(layout: Activations) -> tuple[object, ...]:
    """What parts and the whole have in common, beside what `KernelSpec.check` compares."""
    return (layout.h, layout.w, layout.block) if isinstance(layout, Image) else (layout.block,)
