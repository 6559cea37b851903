"""Dense layer, gradient of the inputs: dx[n,k] = sum_o dy[n,o] w[o,k], lanes along k, by dense_product.py."""

from __future__ import annotations

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.dense.dense_product import Names, Shapes, emit_slice
from asmgen.plan.specs import DenseBackwardInput, dtype_tag
from asmgen.tile.dense.dense_product import ProductTile, choose_input_tile


def emit(spec: DenseBackwardInput, isa: Isa, tile: ProductTile | None = None) -> Listing:
    """The listing of one kernel (arguments: dy, w, dx; slice: vectors of inputs)."""
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    tile = tile or choose_input_tile(spec, isa)
    weights = spec.weights
    with asm:
        dy, w, dx = (asm.argument(i, name) for i, name in enumerate(("dy", "w", "dx argument")))
        bounds = asm.argument(4, "begin"), asm.argument(5, "end / vectors in the slice")
        asm.release_arguments()
        names = Names("dy", "w", "dx", "o", "k", "inputs")
        shapes = Shapes(spec.dy, spec.dx, weights.out, weights.row_bytes, isa.vector_bytes)
        emit_slice(asm, names, shapes, tile, (dy, w, dx), bounds)
    return asm.finish(_facts(spec, tile))


def _facts(spec: DenseBackwardInput, tile: ProductTile) -> Facts:
    dy, w, dx = spec.dy, spec.weights, spec.dx
    ctype = dtype_tag(dx.dtype)
    return Facts(
        title=f"{spec.text}  {dy.n} x {dy.features} -> {dx.n} x {dx.features}",
        source="asmgen/kernels/dense/dense_dx.py, dense_product.py",
        formula=(f"dx[n,k] = sum_o dy[n,o] * w[o,k]    n < {dx.n}, k < {dx.features}, o < {w.out}",),
        arguments=(
            Argument("rdi", "dy", ctype, str(dy), "in", "64-byte aligned"),
            Argument("rsi", "w", ctype, str(w), "in", "64-byte aligned; lanes are inputs"),
            Argument("rdx", "dx", ctype, str(dx), "out", "64-byte aligned; overwritten"),
        ),
        slice_unit=f"vectors of inputs, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=dy.size_bytes + w.out * w.row_bytes,
        bytes_written=dx.size_bytes,
        tile=str(tile),
    )
