"""Specs of activations with kernels of their own."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import Activations, Image
from asmgen.plan.specs.activations import Activation
from asmgen.plan.specs.base import (
    KernelSpec,
    SliceKind,
    activations_tag,
    dtype_tag,
    fused_words,
    halo_tag,
    require_same,
    tags,
)


@dataclass(frozen=True)
class ActForward(KernelSpec):
    """y = f(x) over a whole tensor (x and y have the same layout but for the halo; y may be x). Pad lanes stay zero."""

    x: Activations
    y: Activations
    act: Activation

    @property
    def op(self) -> str:
        return "act_fwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(act=self.act)

    def slice_units(self) -> int:
        return self.x.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        o = f"_o{halo_tag(self.y)}" if isinstance(self.y, Image) and self.y.halo else ""
        return f"{self.op}_{activations_tag(self.x)}{o}{tags(self.fused)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.x.size_bytes // self.x.element_bytes

    def check(self) -> None:
        super().check()
        require_same(self, x=self.x, y=self.y)


@dataclass(frozen=True)
class ActBackward(KernelSpec):
    """dx = dy * f', and f' is seen from `saved`: x or y = f(x), as `act.traits.slope_from` says. dx may be dy.

    From y: relu y>0, leaky y>0 ? 1 : alpha, relu6 0<y<6, elu y>0 ? 1 : y+alpha, sigmoid y(1-y), tanh 1-y^2.
    """

    dy: Activations
    saved: Activations
    dx: Activations
    act: Activation

    @property
    def op(self) -> str:
        return "act_bwd"

    @property
    def fused(self) -> tuple[str, ...]:
        return fused_words(act=self.act)

    def slice_units(self) -> int:
        return self.dy.n

    def slice_kind(self) -> SliceKind:
        return "samples"

    def stem(self) -> str:
        halos = "".join(
            f"_{name}{halo_tag(t)}"
            for name, t in (("d", self.dy), (self.act.traits.slope_from, self.saved), ("o", self.dx))
            if isinstance(t, Image) and t.halo
        )
        base = activations_tag(self.dy).split("p")[0] if isinstance(self.dy, Image) else activations_tag(self.dy)
        return f"{self.op}_{base}{halos}{tags(self.fused)}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        return 2 * self.dy.size_bytes // self.dy.element_bytes

    def check(self) -> None:
        super().check()
        require_same(self, dy=self.dy, saved=self.saved, dx=self.dx)
