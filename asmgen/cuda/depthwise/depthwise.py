"""Depthwise convolutions: every channel has a kernel of its own. A thread computes 16 bytes of a pixel's channels."""

from __future__ import annotations

from typing import Any

from asmgen.cuda.common.spread import VEC_BYTES, Pixels, spread
from asmgen.cuda.common.strides import Strides
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.render import listing
from asmgen.plan.specs import DepthwiseBackwardInput, DepthwiseBackwardWeights, DepthwiseForward, dtype_tag

_SOURCE = "asmgen/cuda/depthwise/depthwise.py"


def emit_forward(spec: DepthwiseForward) -> CudaListing:
    """The listing of y: x, w with the bias behind, y (overwritten but for its halo)."""
    conv, y, symbol = spec.conv, spec.y, spec.symbol("cuda")
    walk = Pixels.of(y)
    grid = spread(walk.items)
    bias = "b[c] + " if conv.bias else ""
    formula = f"y[n,c,oh,ow] = {bias}sum_i,j x[n,c,oh*{conv.sh}+i-{conv.pt},ow*{conv.sw}+j-{conv.pl}] * w[c,i,j]"
    arguments = (
        _argument("a0", "x", conv.x, "in", "padding zero"),
        _argument("a1", "w", conv.weights, "in", "" if conv.bias else "the bias is not read"),
        _argument("a2", "y", y, "out", "halo not written"),
    )
    return listing(
        "depthwise/depthwise_fwd",
        symbol,
        y.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, formula, arguments, conv.x.size_bytes, y.size_bytes, grid.loops),
        **_geometry(spec, x=Strides.of(conv.x), y=Strides.of(y)),
        walk=walk,
        grid=grid,
    )


def emit_input(spec: DepthwiseBackwardInput) -> CudaListing:
    """The listing of dx: dz, w, dx (overwritten but for its halo)."""
    conv, dx, symbol = spec.conv, spec.dx, spec.symbol("cuda")
    walk = Pixels.of(dx)
    grid = spread(walk.items)
    formula = f"dx[n,c,h,w] = sum_i,j dz[n,c,(h+{conv.pt}-i)/{conv.sh},(w+{conv.pl}-j)/{conv.sw}] * w[c,i,j]"
    arguments = (
        _argument("a0", "dz", spec.dz, "in", "padding zero"),
        _argument("a1", "w", conv.weights, "in", "the bias is not read"),
        _argument("a2", "dx", dx, "out", "halo not written"),
    )
    return listing(
        "depthwise/depthwise_dx",
        symbol,
        dx.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")),),
        _facts(spec, formula, arguments, spec.dz.size_bytes, dx.size_bytes, grid.loops),
        **_geometry(spec, dz=Strides.of(spec.dz), dx=Strides.of(dx)),
        walk=walk,
        grid=grid,
    )


def emit_weights(spec: DepthwiseBackwardWeights) -> CudaListing:
    """The listing of dw and db behind it: x, dz, dw (overwritten). A warp sums one tap of 16 bytes of channels."""
    conv, symbol = spec.conv, spec.symbol("cuda")
    weights = conv.weights
    taps = weights.kh * weights.kw + conv.bias
    vecs = weights.n_oc_blocks * conv.x.pixel_bytes // VEC_BYTES
    formula = f"dw[c,i,j] = sum_n,h,w dz[n,c,h,w] * x[n,c,h*{conv.sh}+i-{conv.pt},w*{conv.sw}+j-{conv.pl}]"
    arguments = (
        _argument("a0", "x", conv.x, "in", "padding zero"),
        _argument("a1", "dz", spec.dz, "in", "padding zero"),
        _argument("a2", "dw", weights, "out", "" if conv.bias else "no bias is written"),
    )
    loops = (f"block ({vecs} x {taps}, a tap of 16 bytes of channels)", "  pixel of all samples, in steps of 32")
    return listing(
        "depthwise/depthwise_dw",
        symbol,
        conv.x.dtype,
        (Launch(symbol, (vecs, taps, 1), 32, 0, ("a0", "a1", "a2")),),
        _facts(spec, formula, arguments, conv.x.size_bytes + spec.dz.size_bytes, weights.size_bytes, loops),
        **_geometry(spec, x=Strides.of(conv.x), dz=Strides.of(spec.dz)),
        samples=conv.x.n,
    )


def _geometry(spec: Any, **images: Strides) -> dict[str, Any]:
    weights = spec.conv.weights
    size = weights.element_bytes
    return {
        "conv": spec.conv,
        "weights": weights,
        "vecs": spec.conv.x.pixel_bytes // VEC_BYTES,
        "c_block": weights.oc_block_bytes // size,
        "bias_at": weights.bias_offset_bytes // size,
        **{f"{name}_strides": strides for name, strides in images.items()},
    }


def _argument(register: str, name: str, layout: Any, direction: str, note: str) -> Argument:
    return Argument(register, name, f"{dtype_tag(layout.dtype)} {layout}", direction, note)


def _facts(
    spec: DepthwiseForward | DepthwiseBackwardInput | DepthwiseBackwardWeights,
    formula: str,
    arguments: tuple[Argument, ...],
    read: int,
    written: int,
    loops: tuple[str, ...],
) -> Facts:
    x = spec.conv.x
    return Facts(
        title=f"{spec.text}  {x.c}x{x.h}x{x.w}",
        source=_SOURCE,
        formula=(formula,),
        arguments=arguments,
        flops=spec.flops(),
        bytes_read=read + spec.conv.weights.size_bytes,
        bytes_written=written,
        tile="a warp sums a tap" if isinstance(spec, DepthwiseBackwardWeights) else "a thread computes 16 bytes",
        loops=loops,
    )
