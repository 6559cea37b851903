"""The direct kernel that a kernel with fewer operations stands in for: the row to print beside it."""

from __future__ import annotations

from dataclasses import replace

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.plan import specs
from asmgen.plan.layout import Halo, Image
from asmgen.plan.specs import Conv, KernelSpec
from asmgen.tile.candidates import chosen
from asmgen.tile.sparse.conv2d_dw_tap_lanes import TapTile


def direct_spec(spec: KernelSpec, isa: Isa, listing: Listing) -> KernelSpec | None:
    """The same result by the direct algorithm; None where the kernel is direct itself.

    `spec.flops()` counts the direct algorithm's operations either way, so its rate is an effective one where this is
    not None. Behind a max pool the first layer's weight gradient has tiles of both kinds: `listing` tells which it is.
    """
    match spec:
        case specs.Conv2dForwardWinograd(conv=conv):
            return specs.Conv2dForward(conv, spec.y, spec.act, spec.pool, spec.codes)
        case specs.Conv2dBackwardInputWinograd(conv=conv):
            return specs.Conv2dBackwardInput(conv, spec.dz, spec.dx)
        case specs.Conv2dBackwardInputSparse(conv=conv):
            return specs.Conv2dBackwardInput(conv, _dz(conv, spec.dy, conv.dz_halo()), spec.dx)
        case specs.Conv2dBackwardWeightsSparse(conv=conv):
            return specs.Conv2dBackwardWeights(conv, _dz(conv, spec.dy, Halo()))
        case specs.Conv2dBackwardWeightsPooled(conv=conv):
            candidate = chosen(spec, isa, listing)
            if candidate and isinstance(candidate.tile, TapTile):
                return specs.Conv2dBackwardWeights(replace(conv, pixels=None), _dz(conv, spec.dy, Halo()))
    return None


def operand_bytes(spec: KernelSpec) -> tuple[int, ...]:
    """Sizes of the arguments of a direct convolution kernel, in the order of the ABI."""
    match spec:
        case specs.Conv2dForward(conv=conv, y=y):
            return conv.x.size_bytes, conv.weights.size_bytes, y.size_bytes, y.n * y.code_sample_bytes
        case specs.Conv2dBackwardInput(conv=conv):
            return spec.dz.size_bytes, conv.weights.input_gradient().size_bytes, spec.dx.size_bytes
        case specs.Conv2dBackwardWeights(conv=conv):
            return conv.x.size_bytes, spec.dz.size_bytes, conv.weights.size_bytes
    raise TypeError(f"{type(spec).__name__} is no direct convolution")


def _dz(conv: Conv, dy: Image, halo: Halo) -> Image:
    return Image(dy.n, conv.weights.oc, conv.oh, conv.ow, dy.block, dy.dtype, halo)
