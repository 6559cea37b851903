"""Batch normalisation: passes over its input and over gradients stream; statistics are sums of warps in a fixed order.

A warp sums a plane, a block of channels of one sample; then one sums what all samples have of 16 bytes of channels.
"""

from __future__ import annotations

from typing import Any

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.common.spread import VEC_BYTES, Pixels, spread
from asmgen.cuda.common.strides import Strides, as_image, check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.loss.loss import PRESENT_AT
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import Activations, ChannelVectors, Image, NormParts, NormTable
from asmgen.plan.specs import (
    BatchNormBackwardInput,
    BatchNormBackwardWeights,
    BatchNormForward,
    BatchNormFrozen,
    BatchNormGradientParts,
    BatchNormMoments,
    BatchNormParts,
    BatchNormRunning,
    dtype_tag,
)

_MAX_LONE_WARPS = 1024  # up to here every warp is a block, so that planes spread over all multiprocessors
_WARPS = 4  # of a block, otherwise
_RUNNING_THREADS = 256


def emit_parts(spec: BatchNormParts) -> CudaListing:
    """The listing of each sample's means and sums: x, parts (overwritten)."""
    x, symbol = as_image(spec.x), spec.symbol("cuda")
    warps, launch = _plane_warps(symbol, x, ("a0", "a1"))
    formula = ("parts[n][c] = mean over pixels of x[n,c],   sum over pixels of (x[n,c] - mean)^2",)
    arguments = (_in("a0", "x", spec.x, "padding zero"), _out("a1", "parts", spec.x.dtype, str(NormParts.of(spec.x))))
    loops = _plane_loops(x, warps, launch)
    return listing(
        "norm/batch_norm_parts",
        symbol,
        x.dtype,
        (launch,),
        _facts(spec, "of each sample", formula, arguments, loops),
        x=x,
        strides=Strides.of(x),
        planes=x.n * x.n_c_blocks,
        warps=warps,
        share=literal(1 / (x.h * x.w), x.dtype),
    )


def emit_gradient_parts(spec: BatchNormGradientParts) -> CudaListing:
    """The listing of each sample's sums: dy, x, moments, parts (overwritten)."""
    x, symbol = as_image(spec.x), spec.symbol("cuda")
    warps, launch = _plane_warps(symbol, x, ("a0", "a1", "a2", "a3"))
    table = NormTable(ChannelVectors.of(spec.x), NormTable.MOMENTS)
    formula = ("parts[n][c] = sum over pixels of dz,   sum over pixels of dz (x - mean[c])", _gate_text(spec.act))
    arguments = (
        _in("a0", "dy", spec.dy, "padding zero"),
        _in("a1", "x", spec.x, "padding zero"),
        _table("a2", "moments", table, "in"),
        _out("a3", "parts", spec.x.dtype, str(NormParts.of(spec.x))),
    )
    return listing(
        "norm/batch_norm_gradient_parts",
        symbol,
        x.dtype,
        (launch,),
        _facts(spec, "of each sample", formula, arguments, _plane_loops(x, warps, launch)),
        x=x,
        tensors={"dy": Strides.of(as_image(spec.dy)), "x": Strides.of(x)},
        planes=x.n * x.n_c_blocks,
        warps=warps,
        table=table,
        **_act(spec.act, x.dtype),
    )


def emit_moments(spec: BatchNormMoments) -> CudaListing:
    """The listing of the batch's statistics: parts, weight and bias (if any), loss block, moments (overwritten)."""
    symbol, table, dtype = spec.symbol("cuda"), spec.moments, spec.x.dtype
    has_weights = spec.has_scale or spec.has_bias
    launch = Launch(
        symbol, (_vecs(table), 1, 1), 32, 0, ("a0", "a1", "a2", "a3") if has_weights else ("a0", "a2", "a3")
    )
    formula = (
        "mean = K + sum_n (mean_n - K) / present,   var = sum_n (sum_n + p (mean_n - mean)^2) / m,   K = mean_0",
        _scale_text(spec),
    )
    arguments = (
        Argument("a0", "parts", f"{dtype_tag(dtype)} {NormParts.of(spec.x)}", "in", "mean_n, sum_n"),
        *(_weights(spec, "in") if has_weights else ()),
        Argument("a2", "loss", "loss block: 1 / present, present", "in"),
        _table("a3", "moments", table, "out"),
    )
    return listing(
        "norm/batch_norm_moments",
        symbol,
        dtype,
        (launch,),
        _facts(spec, "of the batch", formula, arguments, _sum_loops(table, spec.x.n)),
        spec=spec,
        table=table,
        sample=2 * table.vectors.bias_offset_bytes // table.vectors.element_bytes,
        present_at=PRESENT_AT,
        pixels=literal(float(spec.pixels), dtype),
        each=literal(1 / spec.pixels, dtype),
        eps=literal(spec.eps, dtype),
    )


def emit_weights(spec: BatchNormBackwardWeights) -> CudaListing:
    """The listing of dw, db and the terms of dx: parts, moments, dw (if any), terms (both overwritten)."""
    symbol, table, dtype = spec.symbol("cuda"), spec.moments, spec.x.dtype
    has_weights = spec.has_scale or spec.has_bias
    launch = Launch(
        symbol, (_vecs(table), 1, 1), 32, 0, ("a0", "a1", "a2", "a3") if has_weights else ("a0", "a1", "a3")
    )
    formula = (
        "db = sum_n sum dz,   dw = rstd sum_n sum dz (x - mean)",
        "terms of dx: db scale / m,   dw rstd scale / m",
    )
    arguments = (
        Argument("a0", "parts", f"{dtype_tag(dtype)} {NormParts.of(spec.x)}", "in", "of each sample: both sums"),
        _table("a1", "moments", table, "in"),
        *(_weights(spec, "out") if has_weights else ()),
        _table("a3", "terms", spec.terms, "out"),
    )
    return listing(
        "norm/batch_norm_dw",
        symbol,
        dtype,
        (launch,),
        _facts(spec, "weight and bias", formula, arguments, _sum_loops(table, spec.x.n)),
        spec=spec,
        table=table,
        terms=spec.terms,
        sample=2 * table.vectors.bias_offset_bytes // table.vectors.element_bytes,
    )


def emit_frozen(spec: BatchNormFrozen) -> CudaListing:
    """The listing of scale and shift of the running statistics: running, weight and bias (if any), moments."""
    symbol, table, dtype = spec.symbol("cuda"), spec.moments, spec.x.dtype
    has_weights = spec.has_scale or spec.has_bias
    grid = spread(_vecs(table))
    arguments = (
        Argument("a0", "running", f"{dtype_tag(dtype)} {spec.running}", "in"),
        *(_weights(spec, "in") if has_weights else ()),
        _table("a2", "moments", table, "out", "two rows are not written"),
    )
    return listing(
        "norm/batch_norm_frozen",
        symbol,
        dtype,
        (grid.launch(symbol, ("a0", "a1", "a2") if has_weights else ("a0", "a2")),),
        _facts(
            spec,
            "of all batches",
            ("mean, var = the running ones", _scale_text(spec)),
            arguments,
            grid.loops,
        ),
        spec=spec,
        table=table,
        grid=grid,
        eps=literal(spec.eps, dtype),
    )


def emit_running(spec: BatchNormRunning) -> CudaListing:
    """The listing of the running statistics, in place: moments, running."""
    symbol, table, dtype = spec.symbol("cuda"), spec.moments, spec.running.vectors.dtype
    vecs = _vecs(table)
    share = "1 / steps" if spec.momentum is None else repr(spec.momentum)
    formula = (f"steps += 1,   mean += {share} (the batch's - mean),   var += {share} (the batch's m / (m - 1) - var)",)
    arguments = (
        _table("a0", "moments", table, "in"),
        Argument("a1", "running", f"{dtype_tag(dtype)} {spec.running}", "in/out", "mean, var, steps (u64)"),
    )
    return listing(
        "norm/batch_norm_running",
        symbol,
        dtype,
        (Launch(symbol, (1, 1, 1), _RUNNING_THREADS, 0, ("a0", "a1")),),
        _facts(spec, "over all batches", formula, arguments, (f"thread ({_RUNNING_THREADS}x)",)),
        spec=spec,
        table=table,
        threads=_RUNNING_THREADS,
        vecs=vecs,
        share=None if spec.momentum is None else literal(spec.momentum, dtype),
    )


def emit_forward(spec: BatchNormForward) -> CudaListing:
    """The listing of y: x, moments, what is added (if anything is), y (may be x; halo not written)."""
    x, y, symbol = as_image(spec.x), as_image(spec.y), spec.symbol("cuda")
    other = None if spec.other is None else as_image(spec.other)
    at = "a2" if other is None else "a3"
    walk = Pixels.of(y)
    grid = spread(walk.items)
    table = NormTable(ChannelVectors.of(spec.x), NormTable.MOMENTS)
    formula = (
        "z = (x - mean[c]) scale[c] + shift[c],   y = " + code_of(spec.act).forward.format(alpha=spec.act.alpha),
    )
    arguments = (
        _in("a0", "x", spec.x, "padding zero"),
        _table("a1", "moments", table, "in"),
        *(() if spec.other is None else (_in("a2", "other", spec.other, "padding zero"),)),
        Argument(at, "y", f"{dtype_tag(y.dtype)} {spec.y}", "out", "may be x; halo not written"),
    )
    return listing(
        "norm/batch_norm_fwd",
        symbol,
        y.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2") if other is None else ("a0", "a1", "a2", "a3")),),
        _facts(spec, "forward", formula, arguments, grid.loops),
        x=Strides.of(x),
        other=other and Strides.of(other),
        y=Strides.of(y),
        walk=walk,
        grid=grid,
        table=table,
        c_blocks=y.n_c_blocks,
        **_act(spec.act, y.dtype),
    )


def emit_input(spec: BatchNormBackwardInput) -> CudaListing:
    """The listing of dx: dy, x, terms, dx (may be dy; halo not written)."""
    images = {name: as_image(layout) for name, layout in (("dy", spec.dy), ("x", spec.x), ("dx", spec.dx))}
    dx, symbol = images["dx"], spec.symbol("cuda")
    walk = Pixels.of(dx)
    grid = spread(walk.items)
    table = NormTable(ChannelVectors.of(spec.x), NormTable.TERMS)
    formula = ("dx = dz scale[c] - db_term[c] - (x - mean[c]) dw_term[c]; 0 for n >= present", _gate_text(spec.act))
    arguments = (
        _in("a0", "dy", spec.dy, "padding zero"),
        _in("a1", "x", spec.x, "padding zero"),
        _table("a2", "terms", table, "in"),
        Argument("a3", "dx", f"{dtype_tag(dx.dtype)} {spec.dx}", "out", "may be dy; halo not written"),
    )
    return listing(
        "norm/batch_norm_dx",
        symbol,
        dx.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2", "a3")),),
        _facts(spec, "input", formula, arguments, grid.loops),
        tensors={name: Strides.of(image) for name, image in images.items()},
        walk=walk,
        grid=grid,
        table=table,
        c_blocks=dx.n_c_blocks,
        **_act(spec.act, dx.dtype),
    )


def _act(act: Any, dtype: str) -> dict[str, Any]:
    return {"act": act, "code": code_of(act), "alpha": literal(act.alpha, dtype)}


def _plane_warps(symbol: str, x: Image, args: tuple[str, ...]) -> tuple[int, Launch]:
    """Warps of a block, and the launch of one a plane."""
    check_size(x.size_bytes // x.element_bytes)
    planes = x.n * x.n_c_blocks
    warps = 1 if planes <= _MAX_LONE_WARPS else _WARPS
    return warps, Launch(symbol, (-(-planes // warps), 1, 1), 32 * warps, 0, args)


def _vecs(table: NormTable) -> int:
    """16 bytes of channels."""
    vecs = table.vectors.bias_offset_bytes // VEC_BYTES
    check_size(table.size_bytes // table.vectors.element_bytes)
    return vecs


# headers --------------------------------------------------------------------------------------------------------------


def _facts(
    spec: Any, what: str, formula: tuple[str, ...], arguments: tuple[Argument, ...], loops: tuple[str, ...]
) -> Facts:
    vectors = spec.running.vectors if isinstance(spec, BatchNormRunning) else ChannelVectors.of(spec.x)
    shape = f"{vectors.c} channels" if isinstance(spec, BatchNormRunning) else str(spec.x)
    whole = 0 if isinstance(spec, BatchNormRunning) else spec.x.size_bytes
    tables = vectors.size_bytes
    n_read = {BatchNormParts: 1, BatchNormGradientParts: 2, BatchNormForward: 1, BatchNormBackwardInput: 2}
    n_written = {BatchNormForward: 1, BatchNormBackwardInput: 1}
    return Facts(
        title=f"{spec.text}  {what}: {shape}",
        source="asmgen/cuda/norm/batch_norm.py",
        formula=formula,
        arguments=arguments,
        flops=spec.flops(),
        bytes_read=n_read[type(spec)] * whole if type(spec) in n_read else 2 * tables,
        bytes_written=n_written[type(spec)] * whole if type(spec) in n_written else tables,
        tile=_TILES[type(spec)],
        loops=loops,
    )


_TILES: dict[type, str] = {
    BatchNormParts: "a warp sums a block of channels of a sample",
    BatchNormGradientParts: "a warp sums a block of channels of a sample",
    BatchNormMoments: "a warp sums 16 bytes of channels, a lane every 32nd sample",
    BatchNormBackwardWeights: "a warp sums 16 bytes of channels, a lane every 32nd sample",
    BatchNormFrozen: "a thread computes 16 bytes of channels",
    BatchNormRunning: "a thread computes 16 bytes of channels; one block",
    BatchNormForward: "a thread computes 16 bytes at a time",
    BatchNormBackwardInput: "a thread computes 16 bytes at a time",
}


def _gate_text(act: Any) -> str:
    if not act:
        return "dz = dy"
    return f"y = (x - mean[c]) scale[c] + shift[c],   dz = {code_of(act).backward.format(alpha=act.alpha)}"


def _scale_text(spec: BatchNormMoments | BatchNormFrozen) -> str:
    scale, shift = "rstd weight" if spec.has_scale else "rstd", "bias" if spec.has_bias else "0"
    return f"rstd = 1 / sqrt(var + {spec.eps!r}),   scale = {scale},   shift = {shift}"


def _plane_loops(x: Image, warps: int, launch: Launch) -> tuple[str, ...]:
    at_once = 32 // (x.pixel_bytes // VEC_BYTES)
    return (
        f"block ({launch.grid[0]}x), warp ({warps}x, a block of channels)",
        f"  pixel ({-(-x.h * x.w // at_once)}x, in steps of {at_once})",
    )


def _sum_loops(table: NormTable, samples: int) -> tuple[str, ...]:
    return (f"block ({_vecs(table)}x, 16 bytes of channels)", f"  sample ({-(-samples // 32)}x, in steps of 32)")


def _in(register: str, name: str, layout: Activations, note: str) -> Argument:
    return Argument(register, name, f"{dtype_tag(layout.dtype)} {layout}", "in", note)


def _out(register: str, name: str, dtype: str, layout: str) -> Argument:
    return Argument(register, name, f"{dtype_tag(dtype)} {layout}", "out", "two vectors a block of channels")


def _table(register: str, name: str, table: NormTable, direction: str, note: str = "") -> Argument:
    rows = ", ".join(table.rows)
    return Argument(
        register, name, f"{dtype_tag(table.vectors.dtype)} {table}", direction, f"{rows}; {note}" if note else rows
    )


def _weights(spec: Any, direction: str) -> tuple[Argument, ...]:
    name, at = ("weights", "a1") if direction == "in" else ("dw", "a2")
    return (Argument(at, name, f"{dtype_tag(spec.x.dtype)} {spec.vectors}", direction),)
