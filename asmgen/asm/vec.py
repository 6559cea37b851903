"""Vector operations in the kernel's own dtype and ISA: one vocabulary, so kernels never ask for the ISA's name.

Every operation reads `op(destination, a, b)`. `b` may be a memory operand `[address]` or a constant. On SSE the
two-operand forms are chosen here; memory operands must then be 16-byte aligned, and `destination` may equal `b` only
for commutative operations. Masks (results of comparisons) are mask registers where the ISA has them, else vectors of
all-ones / all-zeros lanes: take them from `mask_alloc` and use them with `select` and `keep` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peachpy.x86_64 as x86
from peachpy.x86_64.registers import Register

if TYPE_CHECKING:
    from asmgen.asm.assembler import Assembler

_COMMUTATIVE = {"ADD", "MUL", "AND", "OR", "XOR", "PADDD", "PADDQ", "PMULLD", "PMULUDQ", "PCMPEQD", "PCMPEQQ"}
_LESS, _NOT_EQUAL = 1, 4  # comparison predicates


class Vec:
    """The vector vocabulary of one Assembler."""

    def __init__(self, asm: Assembler) -> None:
        self._asm = asm
        self._isa = asm.isa
        self._suffix = "PS" if asm.element_bytes == 4 else "PD"
        self._scalar = "SS" if asm.element_bytes == 4 else "SD"
        self._int = "D" if asm.element_bytes == 4 else "Q"
        self._scratch: Any = None

    # registers -----------------------------------------------------------------------------------------------------

    def mask_alloc(self, name: str) -> Any:
        """A register for a comparison's result."""
        return (self._asm.mask if self._isa.has_mask else self._asm.vec).alloc(name)

    def mask_free(self, *masks: Any) -> None:
        (self._asm.mask if self._isa.has_mask else self._asm.vec).free(*masks)

    def needs_scratch(self) -> bool:
        """Whether `fma`/`fnma` need a scratch vector on this ISA (choose_tile must leave one register for it)."""
        return not self._isa.has_fma

    def scratch(self) -> Any:
        """The one scratch vector, taken on first use and kept."""
        if self._scratch is None:
            self._scratch = self._asm.vec.alloc("scratch")
        return self._scratch

    def release_scratch(self) -> None:
        """Give the scratch vector back, if it was taken; the next operation that needs one takes one again."""
        if self._scratch is not None:
            self._asm.vec.free(self._scratch)
            self._scratch = None

    # moves ---------------------------------------------------------------------------------------------------------

    def _op(self, name: str) -> Any:
        return getattr(x86, ("V" if self._isa.has_vex else "") + name)

    def load(self, dst: Any, mem: Any) -> None:
        """dst = V elements at mem (any alignment)."""
        self._op(f"MOVU{self._suffix}")(dst, mem)

    def store(self, mem: Any, src: Any) -> None:
        """V elements at mem = src (any alignment)."""
        self._op(f"MOVU{self._suffix}")(mem, src)

    def mov(self, dst: Any, src: Any) -> None:
        if dst != src:
            self._op(f"MOVA{self._suffix}")(dst, src)

    def zero(self, dst: Any) -> None:
        """dst = 0 in every lane."""
        if self._isa.has_mask:
            x86.VPXORD(dst, dst, dst)
        elif self._isa.has_vex:
            x86.VXORPS(dst, dst, dst)
        else:
            x86.XORPS(dst, dst)

    def broadcast(self, dst: Any, mem: Any) -> None:
        """dst = the one element at mem in every lane."""
        if self._isa.has_vex:
            getattr(x86, f"VBROADCAST{self._scalar}")(dst, mem)
        elif self._suffix == "PD":
            x86.MOVDDUP(dst, mem)
        else:
            x86.MOVSS(dst, mem)
            x86.SHUFPS(dst, dst, 0)

    def broadcast_lane(self, dst: Any, address: Any, lane: int) -> None:
        """dst = element `lane` of the elements at address, in every lane; address must be aligned to a vector.

        The same as `broadcast` where that is one instruction; on SSE it saves one.
        """
        if self._isa.has_vex or self._suffix == "PD":
            self.broadcast(dst, [address + lane * self._asm.element_bytes])
        else:
            vector, part = divmod(lane, self._asm.lanes)
            x86.PSHUFD(dst, [address + vector * self._isa.vector_bytes], part * 0b01010101)

    def load_scalar(self, dst: Any, mem: Any) -> None:
        """Lane 0 of dst = the element at mem, other lanes 0."""
        self._op(f"MOV{self._scalar}")(dst.as_xmm, mem)

    def store_scalar(self, mem: Any, src: Any) -> None:
        """The element at mem = lane 0 of src."""
        self._op(f"MOV{self._scalar}")(mem, src.as_xmm)

    # codes: one u8 a lane in memory ---------------------------------------------------------------------------------

    def load_bytes(self, dst: Any, address: Any) -> None:
        """Integer lane i of dst = the byte at address + i."""
        sized = {2: x86.word, 4: x86.dword, 8: x86.qword, 16: x86.oword}[self._asm.lanes]
        self._op(f"PMOVZXB{self._int}")(dst, sized[address])

    def store_bytes(self, address: Any, src: Any) -> None:
        """The byte at address + i = integer lane i of src (0..255). src is destroyed; AVX2 uses the scratch vector."""
        if self._isa.has_mask:
            getattr(x86, f"VPMOV{self._int}B")([address], src)
            return
        low = src.as_xmm
        if self._isa.has_vex:
            high = self.scratch().as_xmm
            x86.VEXTRACTI128(high, src, 1)
        else:
            high = low
        if self._int == "Q":
            if self._isa.has_vex:
                x86.VSHUFPS(low, low, high, 0x88)
            else:
                x86.SHUFPS(low, low, 0x88)
            high = low
        self._binary("PACKUSDW", low, low, high, plain=True)
        self._binary("PACKUSWB", low, low, low, plain=True)
        if self._asm.lanes == 8:
            x86.VMOVQ([address], low)
        elif self._asm.lanes == 4:
            self._op("MOVD")([address], low)
        else:
            x86.PEXTRW([address], low, 0)

    # conversions ---------------------------------------------------------------------------------------------------

    def from_u8(self, dst: Any, mem: Any) -> None:
        """Lane i of dst = the unsigned byte i at mem (or of an xmm register), converted; reads as many bytes as dst (a
        full register, or the ymm or xmm view of one) has lanes."""
        if self._suffix == "PS":
            self._op("PMOVZXBD")(dst, mem)
            self._op("CVTDQ2PS")(dst, dst)
            return
        half = dst.as_ymm if dst.size == 64 else dst.as_xmm
        if dst.size == 16:
            self._op("PMOVZXBQ")(dst, mem)
            self._op("PSHUFD")(dst, dst, 0b1000)
        else:
            self._op("PMOVZXBD")(half, mem)
        self._op("CVTDQ2PD")(dst, half)

    def from_u8_scalar(self, dst: Any, mem: Any) -> None:
        """Lane 0 of dst (an xmm view) = the unsigned byte at mem, converted; the other lanes 0."""
        self._op("PXOR")(*([dst] * (3 if self._isa.has_vex else 2)))
        self._op("PINSRB")(*([dst] * (2 if self._isa.has_vex else 1)), mem, 0)
        self._op(f"CVTDQ2{self._suffix}")(dst, dst)

    def insert_u8(self, dst: Any, mem: Any, at: int) -> None:
        """Byte `at` (0..15) of dst (an xmm view) = the byte at mem; its other bytes stay."""
        self._op("PINSRB")(*([dst] * (2 if self._isa.has_vex else 1)), mem, at)

    def broadcast_u32(self, dst: Any, mem: Any) -> None:
        """dst = the u32 at mem (below 2^31), as a number of the dtype, in every lane."""
        half = dst
        if self._suffix == "PD":
            half = dst.as_ymm if dst.size == 64 else dst.as_xmm
        if self._isa.has_vex:
            x86.VPBROADCASTD(half, mem)
        else:
            x86.MOVD(dst, mem)
            x86.PSHUFD(dst, dst, 0)
        self._op(f"CVTDQ2{self._suffix}")(dst, half)

    def to_integer(self, dst: Any, src: Any) -> None:
        """The 32-bit general-purpose register dst = lane 0 of src, truncated."""
        self._op(f"CVTT{self._scalar}2SI")(dst, src.as_xmm)

    # arithmetic ----------------------------------------------------------------------------------------------------

    def _binary(self, name: str, dst: Any, a: Any, b: Any, *, plain: bool = False) -> None:
        """dst = a name b. plain: the mnemonic carries no PS/PD suffix."""
        mnemonic = name if plain else name + self._suffix
        if self._isa.has_vex:
            getattr(x86, f"V{mnemonic}")(dst, a, b)
            return
        if isinstance(b, Register) and dst == b and dst != a:
            if name not in _COMMUTATIVE:
                raise ValueError(
                    f"{mnemonic}: destination {dst} is the second operand; not possible on {self._isa.name}"
                )
            a, b = b, a
        self.mov(dst, a)
        getattr(x86, mnemonic)(dst, b)

    def add(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("ADD", dst, a, b)

    def sub(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("SUB", dst, a, b)

    def mul(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("MUL", dst, a, b)

    def div(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("DIV", dst, a, b)

    def max(self, dst: Any, a: Any, b: Any) -> None:
        """dst = a > b ? a : b (b where either is NaN)."""
        self._binary("MAX", dst, a, b)

    def min(self, dst: Any, a: Any, b: Any) -> None:
        """dst = a < b ? a : b (b where either is NaN)."""
        self._binary("MIN", dst, a, b)

    def sqrt(self, dst: Any, a: Any) -> None:
        self._op(f"SQRT{self._suffix}")(dst, a)

    def has_estimates(self) -> bool:
        """Whether `reciprocal_estimate` and `rsqrt_estimate` exist: of 14 bits, the same bits on every CPU."""
        return self._isa.has_mask

    def reciprocal_estimate(self, dst: Any, a: Any) -> None:
        """dst = 1 / a, relative error at most 2^-14."""
        getattr(x86, f"VRCP14{self._suffix}")(dst, a)

    def rsqrt_estimate(self, dst: Any, a: Any) -> None:
        """dst = 1 / sqrt(a), relative error at most 2^-14."""
        getattr(x86, f"VRSQRT14{self._suffix}")(dst, a)

    def fma(self, acc: Any, a: Any, b: Any) -> None:
        """acc += a * b; one rounding with FMA, two without (then through the scratch vector)."""
        if self._isa.has_fma:
            getattr(x86, f"VFMADD231{self._suffix}")(acc, a, b)
            return
        self.mul(self.scratch(), a, b)
        self.add(acc, acc, self.scratch())

    def has_fma_where(self) -> bool:
        """Whether `fma_where` exists on this ISA; elsewhere `keep` what is multiplied."""
        return self._isa.has_mask

    def fma_where(self, acc: Any, mask: Any, a: Any, b: Any) -> None:
        """acc += a * b in the lanes of mask."""
        self.fma(acc(mask), a, b)

    def fnma(self, acc: Any, a: Any, b: Any) -> None:
        """acc -= a * b."""
        if self._isa.has_fma:
            getattr(x86, f"VFNMADD231{self._suffix}")(acc, a, b)
            return
        self.mul(self.scratch(), a, b)
        self.sub(acc, acc, self.scratch())

    def mul_add(self, acc: Any, a: Any, b: Any) -> None:
        """acc = acc * a + b, the step of Horner's scheme; one rounding with FMA, two without."""
        if self._isa.has_fma:
            getattr(x86, f"VFMADD213{self._suffix}")(acc, a, b)
            return
        self.mul(acc, acc, a)
        self.add(acc, acc, b)

    # shuffles ------------------------------------------------------------------------------------------------------

    def unpack(self, dst: Any, a: Any, b: Any, granule: str, *, high: bool) -> None:
        """Per 128 bits, dst = the lower (upper) halves of a and b, interleaved by 32 (PS) or 64 (PD) bits."""
        self._binary(f"UNPCK{'H' if high else 'L'}{granule}", dst, a, b, plain=True)

    def shuffle(self, dst: Any, a: Any, b: Any, order: int) -> None:
        """Per 128 bits, dst = elements of a (lower half), then of b, chosen by `order` (SHUFPS, SHUFPD)."""
        if self._isa.has_vex:
            getattr(x86, f"VSHUF{self._suffix}")(dst, a, b, order)
            return
        self.mov(dst, a)
        getattr(x86, f"SHUF{self._suffix}")(dst, b, order % 4 if self._suffix == "PD" else order)

    # parts of 128 bits ----------------------------------------------------------------------------------------------

    def store_part(self, mem: Any, src: Any, part: int) -> None:
        """The 128 bits at mem = part `part` of src (any alignment)."""
        if part == 0:
            self.store(mem, src.as_xmm)
        else:
            self._extract(mem, src, part)

    def load_part(self, dst: Any, src: Any, part: int) -> Any:
        """The xmm register that holds part `part` of src: src's own, or dst's."""
        if part == 0:
            return src.as_xmm
        self._extract(dst.as_xmm, src, part)
        return dst.as_xmm

    def _extract(self, dst: Any, src: Any, part: int) -> None:
        (x86.VEXTRACTF32X4 if self._isa.has_mask else x86.VEXTRACTF128)(dst, src, part)

    def insert_part(self, dst: Any, mem: Any, part: int) -> None:
        """Part `part` of dst = the 128 bits at mem; the parts behind it are undefined, those before it stay."""
        if part == 0:
            self.load(dst.as_xmm, mem)
        else:
            (x86.VINSERTF32X4 if self._isa.has_mask else x86.VINSERTF128)(dst, dst, mem, part)

    def store_piece(self, address: Any, src: Any, first: int, n_bytes: int) -> None:
        """The n_bytes (2, 4, 8) at address = those from byte `first`, a multiple of n_bytes, of src (an xmm view)."""
        if n_bytes == 8:
            self._op("MOVHPS" if first else "MOVLPS")([address], src)
        else:
            self._op("PEXTRD" if n_bytes == 4 else "PEXTRW")([address], src, first // n_bytes)

    # bits ----------------------------------------------------------------------------------------------------------

    def and_(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("AND", dst, a, b)

    def or_(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("OR", dst, a, b)

    def xor_(self, dst: Any, a: Any, b: Any) -> None:
        self._binary("XOR", dst, a, b)

    def shift_left(self, dst: Any, a: Any, count: int) -> None:
        """Integer lanes as wide as the dtype, shifted left by an immediate."""
        self._binary(f"PSLL{self._int}", dst, a, count, plain=True)

    def shift_right(self, dst: Any, a: Any, count: int) -> None:
        """Integer lanes as wide as the dtype, shifted right (zeros in) by an immediate."""
        self._binary(f"PSRL{self._int}", dst, a, count, plain=True)

    def integer_add(self, dst: Any, a: Any, b: Any) -> None:
        self._binary(f"PADD{self._int}", dst, a, b, plain=True)

    def integer_sub(self, dst: Any, a: Any, b: Any) -> None:
        self._binary(f"PSUB{self._int}", dst, a, b, plain=True)

    def integer_mul(self, dst: Any, a: Any, b: Any) -> None:
        """Integer lanes as wide as the dtype; factors and product must be below 2^32. Commutative."""
        self._binary("PMULLD" if self._int == "D" else "PMULUDQ", dst, a, b, plain=True)

    def integer_equal(self, mask: Any, a: Any, b: Any) -> None:
        """mask = integer lanes of a == those of b."""
        self._binary(f"PCMPEQ{self._int}", mask, a, b, plain=True)

    # comparisons ---------------------------------------------------------------------------------------------------

    def less(self, mask: Any, a: Any, b: Any) -> None:
        """mask = a < b, lane by lane (false for NaN). `a` must be a register."""
        self._compare(mask, a, b, _LESS)

    def equal(self, mask: Any, a: Any, b: Any) -> None:
        """mask = a == b, lane by lane."""
        self._compare(mask, a, b, 0)

    def not_equal(self, mask: Any, a: Any, b: Any) -> None:
        """mask = a != b, lane by lane (true for NaN). `a` must be a register."""
        self._compare(mask, a, b, _NOT_EQUAL)

    def _compare(self, mask: Any, a: Any, b: Any, predicate: int) -> None:
        if self._isa.has_vex:
            getattr(x86, f"VCMP{self._suffix}")(mask, a, b, predicate)
            return
        if isinstance(b, Register) and mask == b:
            raise ValueError(f"comparison into its own second operand {b} is not possible on {self._isa.name}")
        self.mov(mask, a)
        getattr(x86, f"CMP{self._suffix}")(mask, b, predicate)

    def keep(self, dst: Any, mask: Any, a: Any) -> None:
        """dst = mask ? a : 0. `a` must be a register."""
        if self._isa.has_mask:
            getattr(x86, f"VMOVA{self._suffix}")(dst(mask.z), a)
        else:
            self._binary("AND", dst, a, mask)

    def select(self, dst: Any, mask: Any, a: Any, b: Any) -> None:
        """dst = mask ? a : b. On SSE without masks, uses the scratch vector; dst may be any of the operands."""
        if self._isa.has_mask:
            getattr(x86, f"VBLENDM{self._suffix}")(dst(mask), b, a)
        elif self._isa.has_vex:
            getattr(x86, f"VBLENDV{self._suffix}")(dst, b, a, mask)
        else:
            scratch = self.scratch()
            self._binary("XOR", scratch, a, b)
            self._binary("AND", scratch, scratch, mask)
            self._binary("XOR", dst, b, scratch)

    def sign_bits(self, dst: Any, mask: Any) -> None:
        """Bit i of the 32-bit general-purpose register dst = lane i of mask."""
        if self._isa.has_mask:
            x86.KMOVW(dst, mask)
        else:
            self._op(f"MOVMSK{self._suffix}")(dst, mask)
