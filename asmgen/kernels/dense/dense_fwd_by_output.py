"""Dense layer, forward, lanes = outputs: y[n,o] = act(b[o] + sum_k x[n,k] w[o,k]), by dense_product.py.

No sums of lanes, which cost dense_fwd.py much where a layer has few inputs. Weights whose lanes are inputs are turned
first, a few vectors of outputs at a time (dense_turn.py).
"""

from __future__ import annotations

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import call
from asmgen.kernels.dense.dense_product import Names, Shapes, emit_slice
from asmgen.kernels.dense.dense_turn import Turned
from asmgen.plan.layout import DenseWeights
from asmgen.plan.specs import DenseForwardByOutput, dtype_tag
from asmgen.tile.dense.dense_product import ProductTile, choose_by_output_tile, n_terms


def emit(spec: DenseForwardByOutput, isa: Isa, tile: ProductTile | None = None) -> Listing:
    """The listing of one kernel (arguments: x, w with the bias behind, y; slice: vectors of outputs)."""
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    tile = tile or choose_by_output_tile(spec, isa)
    weights = spec.weights
    with asm:
        x, w, y = (asm.argument(i, name) for i, name in enumerate(("x", "w", "y argument")))
        bounds = asm.argument(4, "begin"), asm.argument(5, "end / vectors in the slice")
        asm.release_arguments()
        names = Names("x", "w", "y", "k", "o", "outputs")
        terms = n_terms(spec.x)
        if isinstance(weights, DenseWeights):
            by_output = weights.vector_bytes, weights.block * weights.row_bytes
            shapes = Shapes(spec.x, spec.y, terms, *by_output, Turned(weights, terms))
        else:
            shapes = Shapes(spec.x, spec.y, terms, weights.row_bytes, weights.vector_bytes)
        bias = (w, weights.bias_offset_bytes) if spec.bias else None
        emit_slice(asm, names, shapes, tile, (x, w, y), bounds, bias, spec.act)
    return asm.finish(_facts(spec, tile))


def _facts(spec: DenseForwardByOutput, tile: ProductTile) -> Facts:
    x, w, y = spec.x, spec.weights, spec.y
    ctype = dtype_tag(x.dtype)
    total = f"{'b[o] + ' if spec.bias else ''}sum_k x[n,k] * w[o,k]"
    return Facts(
        title=f"{spec.text}  {x.n} x {x.features} -> {y.n} x {y.features}",
        source="asmgen/kernels/dense/dense_fwd_by_output.py, dense_product.py",
        formula=(f"y[n,o] = {call(spec.act, total)}    n < {x.n}, o < {w.out}, k < {x.features}",),
        arguments=(
            Argument("rdi", "x", ctype, str(x), "in", "64-byte aligned"),
            Argument(
                "rsi",
                "w",
                ctype,
                str(w),
                "in",
                f"64-byte aligned; lanes are {'inputs' if spec.turns else 'outputs'}",
            ),
            Argument("rdx", "y", ctype, str(y), "out", "64-byte aligned; overwritten, pad lanes 0"),
        ),
        slice_unit=f"vectors of outputs, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=x.size_bytes + (w.size_bytes if spec.bias else w.bias_offset_bytes),
        bytes_written=y.size_bytes,
        tile=str(tile),
    )
