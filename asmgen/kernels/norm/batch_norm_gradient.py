"""The gradients of a batch normalisation, and of the gate behind it. Lanes are channels.

dz = dy where y > 0, else dy times the gate's slope; y is found again, with forward's operations, so that it is on the
side of zero where it was then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import gate
from asmgen.kernels.norm.plane_walk import PlaneWalk
from asmgen.kernels.norm.table_walk import n_sums, next_block, samples_present, to_block, tree
from asmgen.plan.layout import ChannelVectors, NormParts, NormTable
from asmgen.plan.specs import (
    Activation,
    BatchNormBackwardInput,
    BatchNormBackwardWeights,
    BatchNormGradientParts,
    dtype_tag,
)
from asmgen.tile.common.count_text import counted

_SOURCE = "asmgen/kernels/norm/batch_norm_gradient.py"
_UNROLL = 4  # pixels a trip of dx


def emit_parts(spec: BatchNormGradientParts, isa: Isa) -> Listing:
    """The listing of one shape: rdi dy, rsi x, rdx moments, rcx parts (overwritten); slice of samples."""
    asm, vectors = Assembler(isa, spec.x.dtype, spec.symbol(isa.name)), ChannelVectors.of(spec.x)
    table, width = NormTable(vectors, NormTable.MOMENTS), vectors.vector_bytes
    with asm:
        tables = {"moments": (2, table.block_bytes, False), "parts": (3, 2 * width, True)}
        walk = PlaneWalk(asm, {"dy": (0, spec.dy), "x": (1, spec.x)}, tables)
        dy, x, moments, parts = (walk.at[name] for name in ("dy", "x", "moments", "parts"))
        walk.seek()
        walk.release_begin()
        n = n_sums(isa, walk.pixels)
        mean, distance, dz = (asm.vec.alloc(name) for name in ("mean", "x - mean", "dz"))
        gated = _Gate(asm, spec.act)
        first = [asm.vec.alloc(f"S1[{i}]") for i in range(n)]
        second = [asm.vec.alloc(f"S2[{i}]") for i in range(n)]

        def pixel(i: int, at: int) -> None:
            asm.v.load(distance, [x + at])
            asm.v.sub(distance, distance, mean)
            asm.v.load(dz, [dy + at])
            gated.apply(dz, distance)
            asm.v.add(first[i], first[i], dz)
            asm.v.fma(second[i], dz, distance)

        with walk.blocks("n", "samples in the slice", walk.left):
            asm.v.load(mean, [moments + table.row_bytes("mean")])
            gated.load(moments, table)
            for register in (*first, *second):
                asm.v.zero(register)
            walk.each_pixel(n, pixel)
            tree(asm, first)
            tree(asm, second)
            asm.v.store([parts], first[0])
            asm.note("sum of dz")
            asm.v.store([parts + width], second[0])
            asm.note("sum of dz (x - mean)")
    return asm.finish(_parts_facts(spec, table, n))


def emit_weights(spec: BatchNormBackwardWeights, isa: Isa) -> Listing:
    """The listing of one shape: rdi parts, rsi moments, rdx dw and db (overwritten; where there are any), rcx terms
    (overwritten); slice of blocks of channels."""
    asm, vectors = Assembler(isa, spec.x.dtype, spec.symbol(isa.name)), spec.vectors
    width, v = vectors.vector_bytes, asm.v
    table, terms_table = spec.moments, spec.terms
    with asm:
        parts, moments = asm.argument(0, "parts"), asm.argument(1, "moments")
        dw = asm.argument(2, "dw") if spec.has_scale or spec.has_bias else None
        terms = asm.argument(3, "terms")
        begin, left = asm.argument(4, "begin"), asm.argument(5, "blocks left")
        asm.release_arguments()
        x86.SUB(left, begin)
        to_block(asm, begin, 2 * width, parts)
        to_block(asm, begin, table.block_bytes, moments)
        to_block(asm, begin, width, dw)
        to_block(asm, begin, terms_table.block_bytes, terms)
        asm.gp.free(begin)
        present, at = asm.gp.alloc("samples present"), asm.gp.alloc("sample's parts")
        first, second, factor, value = (asm.vec.alloc(name) for name in ("db", "dw", "scale / m", "row"))

        def copy(row: str) -> None:
            v.load(value, [moments + table.row_bytes(row)])
            v.store([terms + terms_table.row_bytes(row)], value)
            asm.note(row)

        with asm.loop("c", "blocks of channels", left):
            x86.MOV(present.as_dword, x86.dword[moments + table.row_bytes("present")])
            v.zero(first)
            v.zero(second)
            with samples_present(asm, "n", present, at, parts, 2 * vectors.bias_offset_bytes):
                v.add(first, first, [at])
                v.add(second, second, [at + width])
            v.mul(second, second, [moments + table.row_bytes("rstd")])
            if dw is not None:
                v.zero(value)
                v.store([dw], second if spec.has_scale else value)
                v.store([dw + vectors.bias_offset_bytes], first if spec.has_bias else value)
            v.load(factor, [moments + table.row_bytes("scale")])
            v.mul(factor, factor, [moments + table.row_bytes("1/m")])
            v.mul(first, first, factor)
            v.store([terms + terms_table.row_bytes("db")], first)
            v.mul(second, second, factor)
            v.mul(second, second, [moments + table.row_bytes("rstd")])
            v.store([terms + terms_table.row_bytes("dw")], second)
            for row in ("mean", "scale", "shift"):
                copy(row)
            x86.MOV(x86.dword[terms + terms_table.row_bytes("present")], present.as_dword)
            asm.move(parts, 2 * width, "parts: next block of channels")
            next_block(asm, table.block_bytes, moments)
            next_block(asm, width, dw)
            next_block(asm, terms_table.block_bytes, terms)
    return asm.finish(_weights_facts(spec))


def emit_input(spec: BatchNormBackwardInput, isa: Isa) -> Listing:
    """The listing of one shape: rdi dy, rsi x, rdx terms, rcx dx (may be dy; overwritten but for its halo); samples."""
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    table, v = NormTable(ChannelVectors.of(spec.x), NormTable.TERMS), asm.v
    with asm:
        tensors = {"dy": (0, spec.dy), "x": (1, spec.x), "dx": (3, spec.dx)}
        walk = PlaneWalk(asm, tensors, {"terms": (2, table.block_bytes, False)})
        dy, x, terms, dx = (walk.at[name] for name in ("dy", "x", "terms", "dx"))
        begin = walk.seek()
        asm.comment("the slice's samples that are there, then those that are not")
        there = asm.gp.alloc("samples there")
        _split(asm, begin, walk.left, there, [terms + table.row_bytes("present")])
        walk.release_begin()
        mean, scale, of_db, of_dw = (asm.vec.alloc(name) for name in ("mean", "scale", "db term", "dw term"))
        distance, dz = asm.vec.alloc("x - mean"), asm.vec.alloc("dz")
        gated = _Gate(asm, spec.act, scale)

        def pixel(i: int, at: int) -> None:
            v.load(distance, [x + at])
            v.sub(distance, distance, mean)
            v.load(dz, [dy + at])
            gated.apply(dz, distance)
            v.mul(dz, dz, scale)
            v.sub(dz, dz, of_db)
            v.fnma(dz, distance, of_dw)
            v.store([dx + at], dz)

        def absent(i: int, at: int) -> None:
            v.store([dx + at], dz)

        with walk.blocks("n", "samples of the slice that are there", there):
            for register, row in ((mean, "mean"), (scale, "scale"), (of_db, "db"), (of_dw, "dw")):
                v.load(register, [terms + table.row_bytes(row)])
            gated.load(terms, table)
            walk.each_pixel(_UNROLL, pixel)
        v.zero(dz)
        with walk.blocks("absent", "samples of the slice that are not", walk.left):
            walk.each_pixel(_UNROLL, absent)
    return asm.finish(_input_facts(spec, table))


class _Gate:
    """dz of dy, by the gate's side: finds y = (x - mean) scale + shift again. Nothing without an activation.

    scale: the register that holds the scale already, if there is one.
    """

    def __init__(self, asm: Assembler, act: Activation, scale: Any = None) -> None:
        self._asm, self._act = asm, act
        if act:
            self._own_scale = scale is None
            self._scale = asm.vec.alloc("scale") if scale is None else scale
            self._shift, self._y = asm.vec.alloc("shift"), asm.vec.alloc("y")
            self._apply: Callable[[Any, Any], None] = gate(asm, act, self._y)

    def load(self, rows: Any, table: NormTable) -> None:
        """The block's scale and shift."""
        if self._act:
            if self._own_scale:
                self._asm.v.load(self._scale, [rows + table.row_bytes("scale")])
            self._asm.v.load(self._shift, [rows + table.row_bytes("shift")])

    def apply(self, dz: Any, distance: Any) -> None:
        """dz, in place, of dy and x - mean."""
        if self._act:
            self._asm.v.mov(self._y, distance)
            self._asm.v.mul_add(self._y, self._scale, self._shift)
            self._apply(dz, self._y)


def _split(asm: Assembler, begin: Any, left: Any, there: Any, present: Any) -> None:
    """there = how many of the `left` samples from `begin` on are among the first `present`; left = the others."""
    none, all_ = asm.label("none_there"), asm.label("split")
    x86.MOV(there.as_dword, x86.dword[present[0]])
    x86.SUB(there, begin)
    x86.JNC(none)
    x86.XOR(there.as_dword, there.as_dword)
    asm.place(none)
    x86.CMP(there, left)
    x86.JBE(all_)
    x86.MOV(there, left)
    asm.place(all_)
    x86.SUB(left, there)


# headers --------------------------------------------------------------------------------------------------------------


def _gate_text(act: Activation) -> str:
    if not act:
        return "dz = dy"
    return f"dz = dy * {act.kind}'(y),   y = (x - mean[c]) scale[c] + shift[c]"


def _parts_facts(spec: BatchNormGradientParts, table: NormTable, n: int) -> Facts:
    x, ctype = spec.x, dtype_tag(spec.x.dtype)
    return Facts(
        title=f"{spec.text}  of each sample: {x}",
        source=_SOURCE,
        formula=("parts[n][c] = sum over pixels of dz,   sum over pixels of dz (x - mean[c])", _gate_text(spec.act)),
        arguments=(
            Argument("rdi", "dy", ctype, str(spec.dy), "in", "padding zero"),
            Argument("rsi", "x", ctype, str(x), "in", "padding zero"),
            Argument("rdx", "moments", ctype, str(table), "in", ", ".join(table.rows[:5])),
            Argument("rcx", "parts", ctype, str(NormParts.of(x)), "out", "two vectors a block of channels"),
        ),
        slice_unit=f"samples, 0..{x.n}",
        flops=spec.flops(),
        bytes_read=x.size_bytes + spec.dy.size_bytes,
        bytes_written=NormParts.of(x).size_bytes,
        tile=f"{counted(n, 'sum')} in flight",
    )


def _weights_facts(spec: BatchNormBackwardWeights) -> Facts:
    ctype = dtype_tag(spec.x.dtype)
    has_any = spec.has_scale or spec.has_bias
    missing = [name for name, has in (("dw", spec.has_scale), ("db", spec.has_bias)) if not has]
    weights = (Argument("rdx", "dw", ctype, str(spec.vectors), "out", " ".join(f"{m} = 0" for m in missing)),)
    return Facts(
        title=f"{spec.text}  weight and bias: {spec.x}",
        source=_SOURCE,
        formula=(
            "db = sum_n sum dz,   dw = rstd sum_n sum dz (x - mean)",
            "terms of dx: db scale / m,   dw rstd scale / m",
        ),
        arguments=(
            Argument("rdi", "parts", ctype, str(NormParts.of(spec.x)), "in", "of each sample: both sums"),
            Argument("rsi", "moments", ctype, str(spec.moments), "in", ", ".join(spec.moments.rows)),
            *(weights if has_any else ()),
            Argument("rcx", "terms", ctype, str(spec.terms), "out", ", ".join(spec.terms.rows)),
        ),
        slice_unit=f"blocks of channels, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=NormParts.of(spec.x).size_bytes,
        bytes_written=spec.terms.size_bytes + has_any * spec.vectors.size_bytes,
        tile="a block of channels at a time, its samples in their order",
    )


def _input_facts(spec: BatchNormBackwardInput, table: NormTable) -> Facts:
    x, ctype = spec.x, dtype_tag(spec.x.dtype)
    return Facts(
        title=f"{spec.text}  {spec.dx}",
        source=_SOURCE,
        formula=("dx = dz scale[c] - db_term[c] - (x - mean[c]) dw_term[c]", _gate_text(spec.act)),
        arguments=(
            Argument("rdi", "dy", ctype, str(spec.dy), "in", "padding zero"),
            Argument("rsi", "x", ctype, str(x), "in", "padding zero"),
            Argument("rdx", "terms", ctype, str(table), "in", ", ".join(table.rows)),
            Argument("rcx", "dx", ctype, str(spec.dx), "out", "may be dy; halo not written"),
        ),
        slice_unit=f"samples, 0..{x.n}",
        flops=spec.flops(),
        bytes_read=x.size_bytes + spec.dy.size_bytes,
        bytes_written=spec.dx.size_bytes,
        tile=f"{counted(_UNROLL, 'pixel')} a trip",
        notes=("dx = 0 for samples n >= present",),
    )
