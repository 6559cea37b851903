"""Philox4x32-10 in vectors: a counter in each lane of 64 bits, whose upper halves never count.

Two multiplications of 32 by 32 bits a round, (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1,
lo(M0 c0)), and the key moves on by the Weyl constants. Vectors of 32-bit elements draw twice, for their even and for
their odd lanes.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.ops.dropout import BITS
from asmgen.ops.philox import MULTIPLIERS, ROUNDS, WEYL

KEY_BYTES = 2 * ROUNDS * 64  # of the frame: both words of a round's key, in every lane


class Philox:
    """The registers of one drawing. `keys`: KEY_BYTES of the frame."""

    def __init__(self, asm: Assembler, keys: Any) -> None:
        self._asm, self._keys = asm, keys
        self.words = [asm.vec.alloc(f"c{i}") for i in range(4)]
        self._products = [asm.vec.alloc(f"product {i}") for i in range(2)]
        self._multipliers = [
            asm.integer_constant(f"multiplier_{i}", value, f"Philox's M{i}") for i, value in enumerate(MULTIPLIERS)
        ]

    def key(self, seed: Any) -> None:
        """The rounds' keys, from the seed's address, to the frame."""
        asm = self._asm
        word = asm.gp.alloc("key word")
        vector = self._products[0]
        asm.comment("the keys of all rounds")
        for half in range(2):
            x86.MOV(word.as_dword, [seed + 4 * half])
            for number in range(ROUNDS):
                at = self._keys + (2 * number + half) * 64
                x86.MOV([at], word)
                asm.v.broadcast(vector, [at])
                asm.v.store([at], vector)
                if number < ROUNDS - 1:
                    x86.ADD(word.as_dword, WEYL[half] - (1 << 32 if WEYL[half] >> 31 else 0))
        asm.gp.free(word)

    def draw(self) -> None:
        """The counter in `words` becomes the words drawn."""
        asm, (p0, p1) = self._asm, self._products
        c0, c1, c2, c3 = self.words
        for number in range(ROUNDS):
            k0, k1 = (self._keys + (2 * number + half) * 64 for half in range(2))
            self._multiply(p0, c0, self._multipliers[0])
            self._multiply(p1, c2, self._multipliers[1])
            if number == 0:
                asm.note("round 1 of Philox")
            self._high(c0, p1)
            asm.v.xor_(c0, c0, c1)
            asm.v.xor_(c0, c0, [k0])
            asm.v.mov(c1, p1)
            self._high(c2, p0)
            asm.v.xor_(c2, c2, c3)
            asm.v.xor_(c2, c2, [k1])
            asm.v.mov(c3, p0)

    def fraction(self, word: Any, *, upper: bool) -> None:
        """word = its upper BITS bits as a number, in the lower half of each lane of 64 bits, or in the upper one."""
        self._shift("PSLLQ", word, word, 32)
        self._shift("PSRLQ", word, word, 64 - BITS)
        if upper:
            self._shift("PSLLQ", word, word, 32)

    def _shift(self, name: str, dst: Any, src: Any, count: int) -> None:
        if self._asm.isa.has_vex:
            getattr(x86, f"V{name}")(dst, src, count)
        else:
            self._asm.v.mov(dst, src)
            getattr(x86, name)(dst, count)

    def _multiply(self, dst: Any, a: Any, b: Any) -> None:
        """dst = the 64-bit products of the lower halves."""
        if self._asm.isa.has_vex:
            x86.VPMULUDQ(dst, a, b)
        else:
            x86.MOVDQA(dst, a)
            x86.PMULUDQ(dst, b)

    def _high(self, dst: Any, src: Any) -> None:
        """dst = the upper halves of src, in the lower ones."""
        self._shift("PSRLQ", dst, src, 32)
