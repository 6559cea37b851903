"""The weights of Winograd's convolution: u = G g G^T of every filter g, one vector of filters at a time.

    u[k/V][position][c][k%V]  from  w[k/V][c][3][3][k%V]        k: channels in lanes, c: channels that are summed over

G is small integers g, each row over its divisor: the integers are applied to rows and columns first, and one product
with the reciprocal of divisor[i] * divisor[j] ends each element. The input gradient's filters are turned by 180 degrees
(`mirrored`).
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.winograd.winograd_algebra import algebra, combination
from asmgen.plan.specs import WinogradWeights, dtype_tag
from asmgen.plan.winograd import TAPS


def emit(spec: WinogradWeights, isa: Isa) -> Listing:
    """The kernel of one shape: rdi w, rsi u (overwritten), slice of blocks of V channels in lanes."""
    return _Kernel(spec, isa).emit()


class _Kernel:
    """Registers and loops of one kernel."""

    def __init__(self, spec: WinogradWeights, isa: Isa) -> None:
        self.spec, self.w_layout, self.u_layout = spec, spec.taps, spec.u
        self.transform = spec.u.transform
        self.asm = Assembler(isa, spec.u.dtype, spec.symbol(isa.name))

    def emit(self) -> Listing:
        asm, w, u = self.asm, self.w_layout, self.u_layout
        with asm:
            self.w, self.u = asm.argument(0, "w"), asm.argument(1, "u")
            begin, end = asm.argument(4, "begin"), asm.argument(5, "blocks left")
            asm.release_arguments()
            offset = asm.gp.alloc("offset of the slice")
            bias = (asm.gp.alloc("bias of w"), asm.gp.alloc("bias of u")) if u.has_bias else None
            asm.comment(f"the slice's first block of {u.block} channels")
            x86.SUB(end, begin)
            if bias is not None:
                x86.IMUL(offset, begin, u.input_bytes)
                x86.LEA(bias[0], [self.w + offset * 1 + w.bias_offset_bytes])
                x86.LEA(bias[1], [self.u + offset * 1 + u.bias_offset_bytes])
            for pointer, block_bytes in ((self.w, w.oc_block_bytes), (self.u, u.block_bytes)):
                x86.IMUL(offset, begin, block_bytes)
                x86.ADD(pointer, offset)
            asm.gp.free(offset, begin)
            with asm.loop("block", "end - begin", end):
                if bias is not None:
                    self._copy_bias(*bias)
                with asm.loop("c", u.inputs):
                    self._filters()
                    asm.move(self.w, w.channel_bytes, "w: next channel")
                    asm.move(self.u, u.input_bytes, "u: next channel")
                asm.move(self.u, u.block_bytes - u.position_bytes, "u: next block of outputs")
        return asm.finish(self._facts())

    def _copy_bias(self, source: Any, target: Any) -> None:
        value = self.asm.vec.alloc("bias")
        self.asm.v.load(value, [source])
        self.asm.v.store([target], value)
        self.asm.note("bias, as it is")
        self.asm.vec.free(value)
        self.asm.move(source, self.u_layout.input_bytes, "bias of w: next vector")
        self.asm.move(target, self.u_layout.input_bytes, "bias of u: next vector")

    def _tap(self, i: int, j: int) -> Any:
        if self.spec.mirrored:
            i, j = TAPS - 1 - i, TAPS - 1 - j
        return [self.w + i * self.w_layout.row_bytes + j * self.w_layout.tap_bytes]

    def _filters(self) -> None:
        """One vector of filters: every row of G g, times G^T."""
        alloc, free, v, side = self.asm.vec.alloc, self.asm.vec.free, self.asm.v, self.transform.side
        for i, coefficients in enumerate(self.transform.g):
            self.asm.comment(f"row {i}: r = G g, u = r G^T")
            row = [alloc(f"r[{j}]") for j in range(TAPS)]
            for j, register in enumerate(row):
                terms = [f"g[{k}][{j}]" for k in range(TAPS)]
                self._combine(register, coefficients, [self._tap(k, j) for k in range(TAPS)], terms)
                self.asm.note(f"r[{j}] = {combination(coefficients, terms)}")
            for j, across in enumerate(self.transform.g):
                element = alloc("u")
                self._combine(element, across, row, [f"r[{k}]" for k in range(TAPS)])
                divisor = int(self.transform.divisor_products[i, j])
                if divisor != 1:
                    name = f"over_{divisor}".replace("-", "minus_")
                    v.mul(element, element, self.asm.vector_constant(name, 1 / divisor, f"1 / {divisor}"))
                    self.asm.note(f"/ {divisor}")
                v.store([self.u + (i * side + j) * self.u_layout.position_bytes], element)
                self.asm.note(f"u[{i}][{j}]")
                free(element)
            free(*row)
        v.release_scratch()

    def _combine(self, dst: Any, coefficients: tuple[int, ...], terms: list[Any], names: list[str]) -> None:
        """dst = the sum of coefficient times term; the first coefficient that is not 0 is 1. names: of the terms."""
        v, started = self.asm.v, False
        for n, (coefficient, term) in enumerate(zip(coefficients, terms, strict=True), 1):
            if not coefficient:
                continue
            if not started:
                (v.load if isinstance(term, list) else v.mov)(dst, term)
                started = True
            elif coefficient in (1, -1):
                (v.add if coefficient > 0 else v.sub)(dst, dst, term)
            else:
                factor = self.asm.vec.alloc("factor")
                v.load(factor, self.asm.vector_constant(f"times_{abs(coefficient)}", float(abs(coefficient))))
                (v.fma if coefficient > 0 else v.fnma)(dst, factor, term)
                self.asm.vec.free(factor)
            self.asm.note(combination(coefficients[:n], names[:n]))

    def _facts(self) -> Facts:
        spec, w, u = self.spec, self.w_layout, self.u_layout
        ctype = dtype_tag(u.dtype)
        turned = ", turned by 180 degrees" if spec.mirrored else ""
        return Facts(
            title=f"{spec.text}  {w.oc} x {w.c} filters",
            source="asmgen/kernels/winograd/winograd_weights.py",
            formula=(f"u[k,c] = G g G^T of g = w[k,c]{turned}", *algebra(self.transform)),
            arguments=(
                Argument("rdi", "w", ctype, str(w), "in", "" if u.has_bias else "no bias is read"),
                Argument("rsi", "u", ctype, str(u), "out", "overwritten"),
            ),
            slice_unit=f"blocks of {u.block} channels in lanes, 0..{spec.slice_units()}",
            flops=spec.flops(),
            bytes_read=w.size_bytes if u.has_bias else w.bias_offset_bytes,
            bytes_written=u.size_bytes,
            tile="one vector of filters",
        )
