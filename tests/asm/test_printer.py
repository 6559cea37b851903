"""NASM text of operands and instructions, and the refusal of what a level does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86
import pytest
from peachpy.x86_64.operand import MemoryOperand, RIPRelativeOffset

from asmgen.asm.isa import AVX2, AVX512, SSE41, Isa
from asmgen.asm.printer import instruction_text, operand_text
from tests.asm.encoding import made


def constant(name: str, offset: int = 0) -> MemoryOperand:
    operand = MemoryOperand(RIPRelativeOffset(offset))
    operand.symbol = name
    return operand


PRINTED: list[tuple[Callable[[], Any], str]] = [
    (lambda: x86.ADD(x86.rdi, 64), "add rdi, 64"),
    (lambda: x86.ADD(x86.rdi, -64), "add rdi, -64"),
    (lambda: x86.MOV(x86.qword[x86.rsi + 8], x86.rax), "mov qword [rsi + 8], rax"),
    (lambda: x86.LEA(x86.rax, [x86.rdi + x86.rcx * 8 - 16]), "lea rax, [rdi + rcx*8 - 16]"),
    (lambda: x86.VMOVUPS(x86.zmm17, [x86.rdi]), "vmovups zmm17, [rdi]"),
    (lambda: x86.VMOVUPS(x86.zword[x86.rdi + 64](x86.k1), x86.zmm0), "vmovups zword [rdi + 64]{k1}, zmm0"),
    (lambda: x86.VMOVAPS(x86.zmm3(x86.k2.z), x86.zmm4), "vmovaps zmm3{k2}{z}, zmm4"),
    (
        lambda: x86.VFMADD231PS(x86.zmm0, x86.zmm1, x86.dword.to16[x86.rsi + 4]),
        "vfmadd231ps zmm0, zmm1, dword [rsi + 4]{1to16}",
    ),
    (lambda: x86.VCMPPS(x86.k2, x86.zmm1, x86.zmm2, 1), "vcmpltps k2, zmm1, zmm2"),
    (lambda: x86.VMAXPS(x86.ymm0, x86.ymm1, constant(".zero")), "vmaxps ymm0, ymm1, [rel .zero]"),
    (lambda: x86.VMAXPS(x86.ymm0, x86.ymm1, constant(".table", 32)), "vmaxps ymm0, ymm1, [rel .table + 32]"),
    (lambda: x86.VZEROUPPER(), "vzeroupper"),
]


@pytest.mark.parametrize(("build", "text"), PRINTED, ids=[text for _, text in PRINTED])
def test_text(build: Callable[[], Any], text: str) -> None:
    assert instruction_text(made(build), AVX512) == text


@pytest.mark.parametrize(
    ("isa", "build", "extension"),
    [
        (SSE41, lambda: x86.VADDPS(x86.xmm0, x86.xmm1, x86.xmm2), "AVX"),
        (SSE41, lambda: x86.VFMADD231PS(x86.xmm0, x86.xmm1, x86.xmm2), "FMA3"),
        (SSE41, lambda: x86.PCMPGTQ(x86.xmm0, x86.xmm1), "SSE4.2"),
        (AVX2, lambda: x86.VADDPS(x86.zmm0, x86.zmm1, x86.zmm2), "AVX512F"),
        (AVX2, lambda: x86.VMOVUPS(x86.ymm17, [x86.rdi]), "AVX512"),
        (AVX512, lambda: x86.VEXP2PS(x86.zmm0, x86.zmm1), "AVX512ER"),
    ],
)
def test_an_instruction_above_the_level_is_refused(isa: Isa, build: Callable[[], Any], extension: str) -> None:
    with pytest.raises(ValueError, match=rf"needs \[.*{extension}.*\], which {isa.name} does not have"):
        instruction_text(made(build), isa)


def test_an_operand_without_text_is_refused() -> None:
    with pytest.raises(TypeError, match="operand 'rdi' has no NASM text"):
        operand_text("rdi")
