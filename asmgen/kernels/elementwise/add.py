"""y = a + b over whole tensors, vector by vector; padding is 0 + 0."""

from __future__ import annotations

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.elementwise.run_walk import Part, RunWalk
from asmgen.kernels.elementwise.segments import segments
from asmgen.plan.specs import Add, dtype_tag
from asmgen.tile.common.count_text import counted

_UNROLL = 4  # vectors per trip


def emit(spec: Add, isa: Isa) -> Listing:
    """The listing of one shape: rdi a, rsi b, rdx y (may be a or b; overwritten but for its halo); slice of samples."""
    layouts = {"a": spec.a, "b": spec.b, "y": spec.y}
    asm = Assembler(isa, spec.y.dtype, spec.symbol(isa.name))
    with asm:
        walk = RunWalk(asm, {name: layout.sample_bytes for name, layout in layouts.items()})
        a, b, y = walk.pointers
        total = asm.vec.alloc("a + b")

        def body(at: int) -> None:
            asm.v.load(total, [a + at])
            asm.v.add(total, total, [b + at])
            asm.v.store([y + at], total)

        runs = segments(list(layouts.values()), asm.lanes, masks_padding=False)
        walk.samples([Part(segment, _UNROLL, body) for segment in runs])
    return asm.finish(_facts(spec))


def _facts(spec: Add) -> Facts:
    ctype = dtype_tag(spec.y.dtype)
    return Facts(
        title=f"{spec.text}  {spec.y}",
        source="asmgen/kernels/elementwise/add.py",
        formula=("y = a + b, element by element",),
        arguments=(
            Argument("rdi", "a", ctype, str(spec.a), "in", "padding zero"),
            Argument("rsi", "b", ctype, str(spec.b), "in", "padding zero"),
            Argument("rdx", "y", ctype, str(spec.y), "out", "may be a or b; halo not written"),
        ),
        slice_unit=f"samples, 0..{spec.y.n}",
        flops=spec.flops(),
        bytes_read=spec.a.size_bytes + spec.b.size_bytes,
        bytes_written=spec.y.size_bytes,
        tile=f"{counted(_UNROLL, 'vector')} a trip",
    )
