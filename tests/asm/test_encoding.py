"""NASM's bytes are PeachPy's, for every instruction that any emitter prints: a wrong printer or encoder shows here.

The forms where they differ are listed with the reason, each with an example that must still differ (docs/peachpy.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peachpy.x86_64 as x86
import pytest
from peachpy.x86_64.operand import MemoryOperand
from peachpy.x86_64.registers import KRegister, YMMRegister

from asmgen.asm.isa import AVX512, ISAS
from asmgen.asm.printer import instruction_text
from asmgen.kernels.registry import emit_kernel
from tests.asm.encoding import canonical, decoded, made, nasm_bytes, recorded
from tests.kernels.support import every_spec


@dataclass(frozen=True)
class Known:
    """A form where PeachPy's bytes differ; `is_wrong` if they also mean something else."""

    reason: str
    applies: Callable[[Any], bool]
    is_wrong: bool
    example: Callable[[], Any]


def _unmasked_compare(instruction: Any) -> bool:
    return instruction.name.startswith(("VCMPP", "VPCMP")) and isinstance(instruction.operands[0], KRegister)


def _broadcast_displacement(instruction: Any) -> bool:
    return any(
        isinstance(operand, MemoryOperand) and operand.broadcast and operand.address.displacement
        for operand in instruction.operands
    )


def _imul_unsigned_byte(instruction: Any) -> bool:
    return instruction.name == "IMUL" and len(instruction.operands) == 3 and 128 <= instruction.operands[2] <= 255


def _mov_immediate(instruction: Any) -> bool:
    return instruction.name == "MOV" and isinstance(instruction.operands[1], int) and instruction.operands[1] >= 0


def _vex_copy_of_high_register(instruction: Any) -> bool:
    return (
        instruction.name in ("VMOVAPS", "VMOVAPD")
        and all(isinstance(operand, YMMRegister) for operand in instruction.operands)
        and instruction.operands[1].physical_id >= 8 > instruction.operands[0].physical_id
    )


KNOWN = (
    Known(
        "PeachPy encodes an unmasked compare into k with that k as its mask",
        _unmasked_compare,
        True,
        lambda: x86.VCMPPS(x86.k2, x86.zmm1, x86.zmm2, 1),
    ),
    Known(
        "PeachPy scales the disp8 of a broadcast by the vector's size, not the element's",
        _broadcast_displacement,
        True,
        lambda: x86.VADDPS(x86.zmm0, x86.zmm1, x86.dword.to16[x86.rdi + 64]),
    ),
    Known(
        "PeachPy encodes a multiplication by 128..255 with a sign-extended byte",
        _imul_unsigned_byte,
        True,
        lambda: x86.IMUL(x86.rax, x86.r8, 180),
    ),
    Known(
        "NASM writes the 32-bit register, which clears the upper half",
        _mov_immediate,
        False,
        lambda: x86.MOV(x86.rax, 12),
    ),
    Known(
        "PeachPy takes the store form, whose VEX prefix is a byte shorter",
        _vex_copy_of_high_register,
        False,
        lambda: x86.VMOVAPS(x86.ymm0, x86.ymm12),
    ),
)


def judge(instructions: dict[str, Any], folder: Path) -> tuple[list[str], set[Known]]:
    """What is wrong with the encodings of these instructions, and the known forms among them."""
    texts = list(instructions)
    nasm = nasm_bytes(texts, folder)
    peachpy = [bytes(instructions[text].encode()) for text in texts]
    different = [k for k in range(len(texts)) if nasm[k] != peachpy[k]]
    nasm_says = decoded([nasm[k] for k in different], folder)
    peachpy_says = decoded([peachpy[k] for k in different], folder)
    wrong, met = [], set()
    for k, ours, theirs in zip(different, nasm_says, peachpy_says, strict=True):
        known = [form for form in KNOWN if form.applies(instructions[texts[k]])]
        met.update(known)
        if not known:
            wrong.append(f"{texts[k]}: NASM {nasm[k].hex()} ({ours}), PeachPy {peachpy[k].hex()} ({theirs})")
        elif _meaning(ours) != _meaning(canonical(texts[k])):
            wrong.append(f"{texts[k]}: NASM's bytes say {ours}")
        elif (_meaning(ours) != _meaning(theirs)) is not known[0].is_wrong:
            wrong.append(f"{texts[k]}: {known[0].reason}: but NASM's bytes say {ours}, PeachPy's {theirs}")
    return wrong, met


def _meaning(text: str) -> str:
    """`mov r11d,3` clears the upper half: the same as `mov r11,3`. objdump marks the longer of two equal encodings."""
    names = {**{f"e{name}": f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")}}
    text = text.replace("vmovaps.s ", "vmovaps ").replace("vmovapd.s ", "vmovapd ")
    found = re.fullmatch(r"mov (\w+),(\d+)", text)
    return f"mov {names.get(found[1], found[1].removesuffix('d'))},{found[2]}" if found else text


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS)
def test_every_emitted_instruction(isa: str, dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with recorded(monkeypatch) as instructions:
        for spec in every_spec(isa, dtype):
            emit_kernel(spec, ISAS[isa])
    assert len(instructions) > 1000
    wrong, _ = judge(instructions, tmp_path)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.reason)
def test_known_differences_are_still_there(known: Known, tmp_path: Path) -> None:
    """An example that no longer differs means a repaired PeachPy: the entry can go."""
    instruction = made(known.example)
    wrong, met = judge({instruction_text(instruction, AVX512): instruction}, tmp_path)
    assert not wrong
    assert met == {known}


def test_plain_evex_forms_are_equal(tmp_path: Path) -> None:
    """Masks, zeroing, high registers and compressed displacements that stay within what PeachPy encodes rightly."""
    forms = [
        lambda: x86.VMOVUPS(x86.zmm17, x86.zword[x86.rdi + 4096]),
        lambda: x86.VMOVUPS(x86.zword[x86.rdi + 8128](x86.k1), x86.zmm31),
        lambda: x86.VMOVAPS(x86.zmm3(x86.k2.z), x86.zmm20),
        lambda: x86.VBLENDMPS(x86.zmm1(x86.k3), x86.zmm2, x86.zmm3),
        lambda: x86.VADDPS(x86.zmm0, x86.zmm1, x86.dword.to16[x86.rdi]),
        lambda: x86.VFMADD231PD(x86.zmm5, x86.zmm30, x86.zword[x86.rdi + x86.rcx * 8 - 64]),
    ]
    instructions = [made(form) for form in forms]
    wrong, met = judge({instruction_text(instruction, AVX512): instruction for instruction in instructions}, tmp_path)
    assert not wrong
    assert not met
