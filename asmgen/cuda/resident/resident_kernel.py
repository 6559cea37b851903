"""The text of a resident training kernel, from its decision (asmgen/cuda/resident/resident.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from asmgen.cuda.common.activations import code_of
from asmgen.cuda.input.load_input import is_uniform
from asmgen.cuda.listing import Argument, CudaListing, Facts, Launch
from asmgen.cuda.loss.loss_code import code_of as loss_code
from asmgen.cuda.optimizer.update import constants
from asmgen.cuda.render import listing, literal
from asmgen.cuda.resident.resident import PARAMETERS, Layer, Product, Resident
from asmgen.plan.layout import ELEMENT_BYTES
from asmgen.plan.specs import dtype_tag


def emit(resident: Resident) -> CudaListing:
    """The listing: one launch, for a chunk of steps."""
    plan, update, loss = resident.plan, resident.update, resident.loss
    dtype = plan.dtype
    launch = Launch(
        resident.symbol,
        (resident.cluster, 1, 1),
        32 * resident.warps,
        resident.shared_bytes,
        tuple(argument.position for argument in _arguments(resident)),
        resident.cluster,
    )
    predictions_at = (loss.preds_offset_bytes - loss.losses_offset_bytes) // 4
    return listing(
        "resident/resident",
        resident.symbol,
        dtype,
        (launch,),
        _facts(resident),
        r=resident,
        layers=list(_chained(resident.layers)),
        shape=_shape,
        activation=code_of,
        literal=lambda value: literal(value, dtype),
        exchange=next(size for name, size, _ in resident.shared_map if name == "exchange") // ELEMENT_BYTES[dtype],
        optimizer=constants(update),
        code=loss_code(loss),
        is_uniform=is_uniform(resident.load),
        scale=[literal(value, dtype) for value in resident.load.scale],
        shift=[literal(value, dtype) for value in resident.load.shift],
        pixels=resident.load.h * resident.load.w,
        predictions_at=predictions_at,
        result_words=predictions_at + plan.batch,
    )


def _chained(layers: tuple[Layer, ...]) -> Iterator[dict[str, Any]]:
    """The layers as the template sees them: with the one before and the one behind."""
    for number, layer in enumerate(layers):
        yield {
            **{field.name: getattr(layer, field.name) for field in fields(layer)},
            "stride": layer.stride,
            "gradient_stride": layer.gradient_stride,
            "before": layers[number - 1] if number else None,
            "next": layers[number + 1] if number + 1 < len(layers) else None,
        }


def _shape(product: Product) -> str:
    return f"{product.row_tiles}, {product.column_tiles}, {product.depth}, {product.across}"


def _arguments(resident: Resident) -> tuple[Argument, ...]:
    plan, ctype = resident.plan, dtype_tag(resident.plan.dtype)
    named = [
        ("images", f"u8 [count][{resident.layers[0].inputs}]", "in", "16-byte aligned"),
        ("all_labels", "u8 [count]", "in", "of all samples"),
        ("order", "u32 [n_samples]", "in", "samples of the phase"),
        ("rows", "64 bytes a step", "in", "inv_count, present; hyper block at 16"),
        ("results", f"{ctype} losses[{plan.batch}], u32 predictions[{plan.batch}] a step", "out", ""),
        ("params", f"{ctype} {PARAMETERS}", "in/out", _parameters(resident)),
    ]
    named += [(name, "u32", "in", "") for name in ("first", "end", "n_samples")]
    return tuple(Argument(f"a{i}", name, layout, way, note) for i, (name, layout, way, note) in enumerate(named))


def _parameters(resident: Resident) -> str:
    """When they are read and written."""
    when = "at the launch's ends"
    if not resident.states:
        return when
    behind = " and ".join(f"+ {distance}" for distance in resident.states)
    return f"{when}; states at {behind}: {'as well' if resident.keeps_states else 'each step'}"


def _facts(resident: Resident) -> Facts:
    plan, layers = resident.plan, resident.layers
    size = ELEMENT_BYTES[plan.dtype]
    shape = " -> ".join(str(n) for n in (layers[0].inputs, *(layer.outputs for layer in layers)))
    blocks = f"{resident.cluster} blocks of a cluster" if resident.cluster > 1 else "one block"
    read_states = 0 if resident.keeps_states else len(resident.states)
    states = 2 * read_states * size * sum(layer.outputs * layer.inputs for layer in layers)
    where = "stay in shared memory" if resident.keeps_states else "come from L2 and go back"
    macs = [plan.batch * layer.inputs * layer.outputs for layer in layers]
    return Facts(
        title=f"resident training  {plan.batch} x {shape}, {resident.loss.kind}, {resident.update.kind}",
        source="asmgen/cuda/resident/resident.py",
        formula=(
            "for every step: x = images[order] * scale + shift; z = x w^T + b, x = act(z), layer by layer; loss, dz;",
            "                dx = dz w, dw = dz^T x, backwards; w -= update(dw)",
            f"{blocks}: block r has columns [r slice, (r + 1) slice) of x and w; partial sums are added in their order",
        ),
        arguments=_arguments(resident),
        flops=2 * (3 * sum(macs) - macs[0]),
        bytes_read=plan.batch * (layers[0].inputs + 5) + 64 + states // 2,
        bytes_written=plan.batch * (size + 4) + states // 2,
        tile=f"{resident.warps} warps a block, tiles of {8 if size == 8 else 16} x 8 by {resident.arithmetic}",
        loops=(
            "step (first .. end; figures above are of one)",
            *(line for layer in layers for line in _loops(layer, "forward", layer.forward, resident.warps)),
            f"  {resident.loss.kind}: sample ({-(-resident.samples_of_block // resident.warps)}x, a warp each)",
            *(
                line
                for layer in reversed(layers)
                for what, product in (("backward", layer.backward), ("weights", layer.weights))
                for line in _loops(layer, what, product, resident.warps)
            ),
        ),
        notes=(
            *(
                f"{layer.label}: {layer.inputs} x {layer.outputs}, {layer.slice} inputs a block"
                for layer in resident.layers
            ),
            *((f"states of weights {where}",) if resident.states else ()),
            f"estimated {resident.cycles} cycles a step",
        ),
    )


def _loops(layer: Layer, what: str, product: Product, warps: int) -> Iterator[str]:
    if product.tasks:
        trips = -(-product.tasks // warps)
        yield (
            f"  {layer.label} {what}: task ({trips}x, {product.tasks} over the warps), k ({product.depth}), "
            f"tile ({product.across}x)"
        )
