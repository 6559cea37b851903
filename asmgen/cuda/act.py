"""Activations as passes of their own: y = f(x), and dx = dy * f'(y) seen from the output y.

Every f but the sigmoid maps 0 to 0, so padding stays zero by itself; the sigmoid's is masked.
"""

from __future__ import annotations

from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.cuda.spread import Pixels, spread
from asmgen.cuda.strides import Strides, as_image
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs import ActBackward, ActForward, Activation, dtype_tag

_FORMULAS = {
    "relu": ("max(0, x)", "y > 0 ? dy : 0"),
    "leaky_relu": ("x > 0 ? x : {alpha} * x", "y > 0 ? dy : {alpha} * dy"),
    "sigmoid": ("1 / (1 + e^-x)", "dy * y * (1 - y)"),
    "tanh": ("tanh(x)", "dy * (1 - y^2)"),
}


def emit_forward(spec: ActForward) -> CudaListing:
    """The listing of y = f(x): x, y (may be x; halo not written)."""
    return _emit(spec, spec.act, {"x": spec.x, "y": spec.y}, masks=spec.act.kind == "sigmoid")


def emit_backward(spec: ActBackward) -> CudaListing:
    """The listing of dx = dy * f'(y): dy, y, dx (may be dy; halo not written)."""
    return _emit(spec, spec.act, {"dy": spec.dy, "y": spec.y, "dx": spec.dx}, masks=False)


def _emit(
    spec: ActForward | ActBackward, act: Activation, tensors: dict[str, Activations], *, masks: bool
) -> CudaListing:
    images = {name: _surface(layout) for name, layout in tensors.items()}
    out_name, out = list(images.items())[-1]
    walk = Pixels.of(out)
    grid = spread(walk.items)
    symbol = spec.symbol("cuda")
    has_halo = any(image.halo for image in images.values())
    return listing(
        "act",
        symbol,
        out.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")[: len(tensors)]),),
        _facts(spec, act, tensors, grid.loops),
        images={name: Strides.of(image) for name, image in images.items()},
        out=out_name,
        act=act,
        alpha=literal(act.alpha, out.dtype),
        walk=walk,
        grid=grid,
        has_halo=has_halo,
        pads=(out.c, out.block, out.n_c_blocks) if masks and out.c % out.block else None,
    )


def _surface(layout: Activations) -> Image:
    """Rows as images of one pixel whose channel block is the whole row: nothing but the shape of the loops changes."""
    if isinstance(layout, Rows) and layout.source is None:
        return Image(layout.n, layout.features, 1, 1, layout.stride, layout.dtype)
    return as_image(layout)


def _facts(
    spec: ActForward | ActBackward, act: Activation, tensors: dict[str, Activations], loops: tuple[str, ...]
) -> Facts:
    names, layouts = list(tensors), list(tensors.values())
    out, layout = names[-1], layouts[-1]
    direction = "fwd" if isinstance(spec, ActForward) else "bwd"
    formula = _FORMULAS[act.kind][direction == "bwd"].format(alpha=act.alpha)
    return Facts(
        title=f"act_{direction}  {act.kind}  {layout}",
        source="asmgen/cuda/act.py",
        formula=(f"{out} = {formula}, element by element",),
        arguments=tuple(
            Argument(
                f"a{i}",
                name,
                f"{dtype_tag(tensor.dtype)} {tensor}",
                "out" if name == out else "in",
                f"may be {names[0]}; halo not written" if name == out else "padding zero",
            )
            for i, (name, tensor) in enumerate(tensors.items())
        ),
        flops=spec.flops(),
        bytes_read=sum(tensor.size_bytes for tensor in layouts[:-1]),
        bytes_written=layout.size_bytes,
        tile="a thread computes 16 bytes at a time",
        loops=loops,
    )
