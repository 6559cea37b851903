"""Whether a dense layer's weights lie by input or by output, and whether forward turns them."""

from __future__ import annotations

from asmgen.asm.isa import Isa
from asmgen.plan.layout import DENSE_QUAD, DenseWeights, DenseWeightsByOutput
from asmgen.plan.policy import DenseLanes
from asmgen.plan.specs import DenseForward, DenseForwardByOutput
from asmgen.plan.specs.dense import MOST_TURNED_BYTES
from asmgen.tile.cost import L2_BYTES
from asmgen.tile.dense.dense_dw import product_cycles
from asmgen.tile.dense.dense_product import FEW_VECTORS, by_output_candidates, forward_candidates

STEP_CYCLES = 10  # of the optimizer on a vector, about: what lanes without a weight cost


def dense_lanes(spec: DenseForward, has_dx: bool, isa: Isa) -> DenseLanes:
    """The form with the fewest predicted cycles a step.

    Weights by output: forward has no sums over lanes. The input gradient would have them instead. So weights lie by
    output only where the layer's input has no gradient. Elsewhere they lie by input, and forward may turn a block of
    them on its frame ("turned"). Forward reads all weights once for every few samples, so weights larger than L2 stay
    by input. So do layers of few vectors of outputs: a thread's slice of their weight gradient would be one vector.
    """
    by_input, by_output = spec.weights, spec.weights.by_output()
    if by_input.bias_offset_bytes > L2_BYTES:
        return "inputs"
    cycles = forward_candidates(spec, isa)[0].cycles
    if has_dx:
        turned = DenseForwardByOutput(spec.x, by_input, spec.y, spec.bias, spec.act)
        if by_input.n_rows % by_input.block or turned.turned_bytes > MOST_TURNED_BYTES:
            return "inputs"
        return "turned" if by_output_candidates(turned, isa)[0].cycles < cycles else "inputs"
    if by_output.n_rows % DENSE_QUAD or by_output.n_blocks < FEW_VECTORS:
        return "inputs"
    other = DenseForwardByOutput(spec.x, by_output, spec.y, spec.bias, spec.act)
    gain = cycles - by_output_candidates(other, isa)[0].cycles
    return "outputs" if gain > _update_cycles(spec, by_output, isa) - _update_cycles(spec, by_input, isa) else "inputs"


def _update_cycles(spec: DenseForward, weights: DenseWeights | DenseWeightsByOutput, isa: Isa) -> float:
    """Of the weight gradient with the step."""
    product = min(cycles for _, cycles in product_cycles(weights, spec.x.n, isa))
    return product + weights.size_bytes / isa.vector_bytes * STEP_CYCLES
