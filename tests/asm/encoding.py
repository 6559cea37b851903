"""Bytes of instructions as NASM and as PeachPy make them, and what objdump reads in those bytes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peachpy.stream import InstructionStream
from peachpy.x86_64.pseudo import Label

from asmgen.asm import assembler
from asmgen.asm.isa import Isa
from asmgen.toolchain.tools import find_program

_SLOT = 16  # bytes an instruction gets: at most 15, and its length behind them
_RIP_OPERAND = re.compile(r"\[rel [^\]+]+")
_PREDICATES = dict(zip("01234567", ("eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord"), strict=True))


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Collects every instruction that assemblers print meanwhile: text -> PeachPy instruction, without branches.

    A branch's length depends on what lies between it and its label, which only NASM knows.
    """
    instructions: dict[str, Any] = {}
    real = assembler.instruction_text

    def note(instruction: Any, isa: Isa) -> str:
        text = real(instruction, isa)
        if not any(isinstance(operand, Label) for operand in instruction.operands):
            instructions.setdefault(text, instruction)
        return text

    with monkeypatch.context() as patch:
        patch.setattr(assembler, "instruction_text", note)
        yield instructions


def made(build: Any) -> Any:
    """The one instruction that `build()` constructs."""
    with InstructionStream() as stream:
        build()
    (instruction,) = stream
    return instruction


def nasm_bytes(texts: Sequence[str], folder: Path) -> list[bytes]:
    """Each instruction as NASM encodes it; RIP-relative operands point at the next instruction (displacement 0)."""
    lines = ["default rel", "bits 64"]
    for k, text in enumerate(texts):
        near = _RIP_OPERAND.sub(f"[rel next{k}", text)
        lines += [f"at{k}: {near}", f"next{k}: times {_SLOT - 1}-(next{k}-at{k}) db 0x90", f"db next{k}-at{k}"]
    source, binary = folder / "all.asm", folder / "all.bin"
    source.write_text("\n".join(lines) + "\n")
    subprocess.run([find_program("nasm"), "-f", "bin", source, "-o", binary], check=True)
    slots = binary.read_bytes()
    return [slots[at : at + slots[at + _SLOT - 1]] for at in range(0, len(slots), _SLOT)]


def decoded(encodings: Sequence[bytes], folder: Path) -> list[str]:
    """What each byte string says, in the form of `canonical`."""
    if not encodings:
        return []
    binary = folder / "decode.bin"
    binary.write_bytes(b"".join(code.ljust(_SLOT, b"\x90") for code in encodings))
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn", str(binary)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = dict(re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", said, re.MULTILINE))
    return [canonical(lines[f"{at:x}"]) for at in range(0, _SLOT * len(encodings), _SLOT)]


def canonical(text: str) -> str:
    """One spelling for our text and objdump's: no sizes or comments, decimal numbers, compares with their predicate."""
    text = re.sub(r"\[rel [^\]+]+(?:\+ (\d+))?\]", lambda found: f"[rip+{found[1] or 0}]", text)
    text = re.sub(r"\s*#.*", "", text.lower())
    text = re.sub(r"\{1to\d+\}", "{bcst}", re.sub(r"\w+ bcst (\[[^]]*\])", r"\1{bcst}", text))
    text = re.sub(r"\b(byte|word|dword|qword|xmmword|ymmword|zmmword|oword|yword|zword) (ptr )?", "", text)
    text = re.sub(r"0x([0-9a-f]+)", lambda number: str(int(number[1], 16)), text)
    mnemonic, _, operands = text.strip().partition(" ")
    operands = operands.replace(" ", "").replace("*1]", "]")
    compare = re.fullmatch(r"(v?cmp)(p[sd])", mnemonic)
    if compare and re.search(r",[0-7]$", operands):
        mnemonic, operands = f"{compare[1]}{_PREDICATES[operands[-1]]}{compare[2]}", operands[:-2]
    return f"{mnemonic} {operands}"
