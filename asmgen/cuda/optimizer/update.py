"""One optimizer step over all parameters (formulas: docs/architecture.md, Hyper block): pure streaming."""

from __future__ import annotations

from typing import Any

from asmgen.cuda.common.spread import VEC_BYTES, spread, vec_lanes
from asmgen.cuda.common.strides import check_size
from asmgen.cuda.listing import Argument, CudaListing, Facts
from asmgen.cuda.render import listing, literal
from asmgen.plan.layout import ELEMENT_BYTES
from asmgen.plan.specs import Update, dtype_tag

_FAMILIES = {"nesterov": "momentum", "adamw": "adam"}
_FORMULAS = {
    "sgd": ("w -= lr * g",),
    "momentum": ("v = mu * v + g", "w -= lr * v"),
    "nesterov": ("v = mu * v + g", "w -= lr * (g + mu * v)"),
    "adam": (
        "m = beta1 * m + (1 - beta1) * g,   v = beta2 * v + (1 - beta2) * g^2",
        "w -= step * m / (sqrt(v) * inv_sqrt + eps)   step = lr / (1 - beta1^t), inv_sqrt = 1 / sqrt(1 - beta2^t)",
    ),
}


def emit(spec: Update) -> CudaListing:
    """The listing of one update: params, grads, state (where there is one), hyper."""
    symbol = spec.symbol("cuda")
    elements = spec.n_vectors * spec.block
    check_size(elements * max(1, spec.n_states))
    grid = spread(elements // vec_lanes(spec.dtype))
    args = ("a0", "a1", "a2", "a3") if spec.n_states else ("a0", "a1", "a3")
    return listing(
        "optimizer/update",
        symbol,
        spec.dtype,
        (grid.launch(symbol, args),),
        _facts(spec, grid.loops),
        spec=spec,
        grid=grid,
        elements=elements,
        **constants(spec),
    )


def constants(spec: Update) -> dict[str, Any]:
    """What the templates call an optimizer: its family (of states: sgd, momentum, adam) and literals of its numbers."""
    names = "mu", "beta1", "beta2", "eps", "weight_decay", "one_minus_beta1", "one_minus_beta2"
    values = spec.momentum, spec.beta1, spec.beta2, spec.eps, spec.weight_decay, 1 - spec.beta1, 1 - spec.beta2
    literals = {name: literal(value, spec.dtype) for name, value in zip(names, values, strict=True)}
    return {"family": _FAMILIES.get(spec.kind, spec.kind), **literals}


def formula(spec: Update) -> tuple[str, ...]:
    """The step from a gradient g."""
    lines = _FORMULAS[spec.kind if spec.kind in _FORMULAS else _FAMILIES[spec.kind]]
    if spec.weight_decay:
        lines = ("w -= lr * weight_decay * w" if spec.kind == "adamw" else "g += weight_decay * w", *lines)
    return lines


def _facts(spec: Update, loops: tuple[str, ...]) -> Facts:
    ctype, shape = dtype_tag(spec.dtype), f"[{spec.n_vectors}][{spec.block}]"
    state = Argument(
        "a2", "state", f"{ctype} [{spec.n_states}]{shape}", "in/out", "v" if spec.n_states == 1 else "m, then v"
    )
    tensor_bytes = spec.n_vectors * spec.block * ELEMENT_BYTES[spec.dtype]
    return Facts(
        title=f"{spec.text}  {spec.n_vectors * spec.block} parameters",
        source="asmgen/cuda/optimizer/update.py",
        formula=formula(spec),
        arguments=(
            Argument("a0", "params", f"{ctype} {shape}", "in/out"),
            Argument("a1", "grads", f"{ctype} {shape}", "in"),
            *((state,) if spec.n_states else ()),
            Argument("a3", "hyper", f"{ctype} [3]", "in", "lr, step, inv_sqrt"),
        ),
        flops=spec.flops(),
        bytes_read=(2 + spec.n_states) * tensor_bytes,
        bytes_written=(1 + spec.n_states) * tensor_bytes,
        tile=f"a thread updates {VEC_BYTES} bytes of parameters at a time",
        loops=loops,
    )
