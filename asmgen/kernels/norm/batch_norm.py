"""y = act((x - mean) scale + shift), channel by channel: the pass of a batch normalisation over its input.

What a shortcut leads around it is added before the activation.
"""

from __future__ import annotations

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import activated, call
from asmgen.kernels.norm.plane_walk import PlaneWalk
from asmgen.plan.layout import ChannelVectors, NormTable
from asmgen.plan.specs import BatchNormForward, dtype_tag
from asmgen.tile.common.count_text import counted

_UNROLL = 4  # pixels in flight


def emit(spec: BatchNormForward, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi moments, rdx y (may be x; overwritten but for its halo); samples.

    With something to add: rdx other, rcx y.
    """
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    table = NormTable(ChannelVectors.of(spec.x), NormTable.MOMENTS)
    with asm:
        tensors = {"x": (0, spec.x), "y": (2, spec.y)}
        if spec.other is not None:
            tensors |= {"other": (2, spec.other), "y": (3, spec.y)}
        walk = PlaneWalk(asm, tensors, {"moments": (1, table.block_bytes, False)})
        walk.seek()
        walk.release_begin()
        x, moments, y = (walk.at[name] for name in ("x", "moments", "y"))
        mean, scale, shift = (asm.vec.alloc(name) for name in ("mean", "scale", "shift"))
        values = [asm.vec.alloc(f"x[{i}]") for i in range(_UNROLL)]
        spare = asm.vec.alloc("act") if spec.act else None

        def pixel(i: int, at: int) -> None:
            value = values[i]
            asm.v.load(value, [x + at])
            asm.v.sub(value, value, mean)
            asm.v.mul_add(value, scale, shift)
            if spec.other is not None:
                asm.v.add(value, value, [walk.at["other"] + at])
            asm.v.store([y + at], activated(asm, spec.act, value, spare))

        with walk.blocks("n", "samples in the slice", walk.left):
            for register, row in ((mean, "mean"), (scale, "scale"), (shift, "shift")):
                asm.v.load(register, [moments + table.row_bytes(row)])
            walk.each_pixel(_UNROLL, pixel)
    return asm.finish(_facts(spec, table))


def _facts(spec: BatchNormForward, table: NormTable) -> Facts:
    ctype = dtype_tag(spec.x.dtype)
    has_other = spec.other is not None
    formula = call(spec.act, "(x - mean[c]) scale[c] + shift[c]" + " + other" * has_other)
    other = (Argument("rdx", "other", ctype, str(spec.other), "in", "padding zero"),) * has_other
    return Facts(
        title=f"{spec.text}  {spec.x} -> {spec.y}",
        source="asmgen/kernels/norm/batch_norm.py",
        formula=(f"y = {formula}",),
        arguments=(
            Argument("rdi", "x", ctype, str(spec.x), "in", "padding zero"),
            Argument("rsi", "moments", ctype, str(table), "in", ", ".join(table.rows[:5])),
            *other,
            Argument("rcx" if has_other else "rdx", "y", ctype, str(spec.y), "out", "may be x; halo not written"),
        ),
        slice_unit=f"samples, 0..{spec.x.n}",
        flops=spec.flops(),
        bytes_read=spec.x.size_bytes + table.size_bytes + (spec.other.size_bytes if spec.other else 0),
        bytes_written=spec.y.size_bytes,
        tile=f"{counted(_UNROLL, 'pixel')} a trip",
    )
