"""Activations as passes of their own: y = f(x), and dx = dy * f', which is seen from x or y.

Where f maps 0 to 0, padding stays zero by itself; elsewhere it is masked. What f is: asmgen/cuda/common/activations.py.
"""

from __future__ import annotations

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.common.spread import Pixels, spread
from asmgen.cuda.common.strides import Strides, as_image
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import Activations, Image, Rows
from asmgen.plan.specs import ActBackward, ActForward, Activation, dtype_tag


def emit_forward(spec: ActForward) -> CudaListing:
    """The listing of y = f(x): x, y (may be x; halo not written)."""
    return _emit(spec, spec.act, {"x": spec.x, "y": spec.y}, masks=not spec.act.traits.maps_zero_to_zero)


def emit_backward(spec: ActBackward) -> CudaListing:
    """The listing of dx = dy * f': dy, x or y, dx (may be dy; halo not written)."""
    tensors = {"dy": spec.dy, spec.act.traits.slope_from: spec.saved, "dx": spec.dx}
    return _emit(spec, spec.act, tensors, masks=False)


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
        "elementwise/act",
        symbol,
        out.dtype,
        (grid.launch(symbol, ("a0", "a1", "a2")[: len(tensors)]),),
        _facts(spec, act, tensors, grid.loops),
        images={name: Strides.of(image) for name, image in images.items()},
        out=out_name,
        code=code_of(act),
        saved=act.traits.slope_from,
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
    code = code_of(act)
    formula = (code.forward if direction == "fwd" else code.backward).format(alpha=act.alpha)
    return Facts(
        title=f"{spec.text}  {layout}",
        source="asmgen/cuda/elementwise/act.py",
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
