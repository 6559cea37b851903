"""Which registers instructions touch and change: for the register map and the clobbers of a kernel's header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from peachpy.x86_64.operand import MemoryOperand, RIPRelativeOffset
from peachpy.x86_64.pseudo import LABEL
from peachpy.x86_64.registers import GeneralPurposeRegister, KRegister, MaskedRegister, Register

from asmgen.asm.regfile import RegFile

_KEEPS_FLAGS = re.compile(r"V?MOV|LEA|J|PREFETCH|CMOV|SET|PUSH|POP|NOT|BSWAP|PDEP|PEXT|MULX|RORX|S[AH][LR]X")
_SETS_FLAGS = re.compile(r"V?U?COMIS|V?PTEST|VTESTP|KORTEST|KTEST")


class Usage:
    """What a stream of instructions touches, as names of whole registers (`rax`, `ymm3`, `k1`).

    referenced: read or changed; changed: changed in whole or in part; flags: whether the arithmetic flags change.
    family: the name of the level's vector registers (xmm, ymm, zmm).
    """

    def __init__(self, instructions: Iterable[Any], family: str) -> None:
        self._family = family
        self.referenced: set[str] = set()
        self.changed: set[str] = set()
        self.flags = False
        for instruction in instructions:
            if isinstance(instruction, LABEL):
                continue
            for operand, is_changed in zip(instruction.operands, instruction.out_regs, strict=True):
                self.referenced.update(map(self._whole, _registers(operand)))
                if is_changed:
                    target = operand.register if isinstance(operand, MaskedRegister) else operand
                    self.changed.add(self._whole(target))
            implicit = {str(register) for register in Register._reconstruct_multiple(instruction._implicit_out_regs)}
            self.referenced |= implicit
            self.changed |= implicit
            self.flags |= _changes_flags(instruction)

    def clobbers(self, caller_saved: Iterable[Any], vec: RegFile, mask: RegFile, enter: Iterable[str]) -> Iterator[str]:
        """What a caller loses, `caller_saved` registers first; enter: the lines that make the frame."""
        frame = [line.split() for line in enter]
        changed = self.changed | {words[1].rstrip(",") for words in frame if len(words) > 1}
        yield from (str(register) for register in caller_saved if str(register) in changed)
        for names in (vec.names(), mask.names()):
            yield from compact(name for name in names if name in changed)
        if self.flags or frame:
            yield "flags"

    def _whole(self, register: Any) -> str:
        if isinstance(register, GeneralPurposeRegister):
            return str(register.as_qword)
        return str(register) if isinstance(register, KRegister) else f"{self._family}{register.physical_id}"


def _registers(operand: Any) -> Iterator[Any]:
    """Every register in an operand, those of addresses and write masks included."""
    if isinstance(operand, MaskedRegister):
        yield from (operand.register, operand.mask.mask_register)
    elif isinstance(operand, Register):
        yield operand
    elif isinstance(operand, MemoryOperand):
        if not isinstance(operand.address, RIPRelativeOffset):
            yield from (part for part in (operand.address.base, operand.address.index) if part is not None)
        if operand.mask is not None:
            yield operand.mask.mask_register


def _changes_flags(instruction: Any) -> bool:
    if _SETS_FLAGS.match(instruction.name):
        return True
    registers = [register for operand in instruction.operands for register in _registers(operand)]
    is_vector = not all(isinstance(register, GeneralPurposeRegister) for register in registers)
    return not is_vector and not _KEEPS_FLAGS.match(instruction.name)


def compact(names: Iterable[str]) -> Iterator[str]:
    """`k1`, `zmm0-16`: numbered registers of one file in ranges; `names` ascend."""
    runs: list[tuple[str, int, int]] = []
    for name in names:
        stem = name.rstrip("0123456789")
        number = int(name[len(stem) :])
        if runs and runs[-1][0] == stem and runs[-1][2] == number - 1:
            runs[-1] = stem, runs[-1][1], number
        else:
            runs.append((stem, number, number))
    for stem, first, last in runs:
        yield f"{stem}{first}" if first == last else f"{stem}{first}-{last}"
