"""NASM text of PeachPy instructions, and the check that an instruction belongs to the instruction set level.

PeachPy's own NASM text drops broadcasts and store masks, and its encoder miscompiles some EVEX forms
(docs/peachpy.md), so the text is printed here and NASM makes the bytes.
"""

from __future__ import annotations

import re
from typing import Any

from peachpy.util import is_int64
from peachpy.x86_64.operand import MemoryOperand, RIPRelativeOffset
from peachpy.x86_64.pseudo import Label
from peachpy.x86_64.registers import MaskedRegister, Register

from asmgen.asm.isa import Isa

_COMPARE = re.compile(r"(v?cmp)([ps][sd])")
_PREDICATES = ("eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord")  # of comparisons, by their immediate
_SIZE_WORDS = {1: "byte", 2: "word", 4: "dword", 8: "qword", 16: "oword", 32: "yword", 64: "zword"}


def _mask_suffix(mask: Any) -> str:
    return f"{{{mask.mask_register}}}" + ("{z}" if mask.is_zeroing else "")


def _memory(operand: MemoryOperand) -> str:
    size = f"{_SIZE_WORDS[operand.size]} " if operand.size else ""
    if isinstance(operand.address, RIPRelativeOffset):
        offset = operand.address.offset
        text = f"{size}[rel {operand.symbol}" + (f" + {offset}]" if offset else "]")
    else:
        address = operand.address
        parts = [str(address.base)] if address.base is not None else []
        if address.index is not None:
            parts.append(f"{address.index}*{address.scale}")
        text = " + ".join(parts)
        if address.displacement:
            sign = "+" if address.displacement > 0 else "-"
            text += f" {sign} {abs(address.displacement)}"
        text = f"{size}[{text}]"
    if operand.broadcast:
        text += f"{{1to{operand.broadcast}}}"
    if operand.mask is not None:
        text += _mask_suffix(operand.mask)
    return text


def operand_text(operand: Any) -> str:
    """One operand as NASM reads it."""
    if isinstance(operand, MemoryOperand):
        return _memory(operand)
    if isinstance(operand, MaskedRegister):
        return f"{operand.register}{_mask_suffix(operand.mask)}"
    if isinstance(operand, Label):
        return f".{operand}"
    if isinstance(operand, Register):
        return str(operand)
    if is_int64(operand):
        return str(int(operand))
    raise TypeError(f"operand {operand!r} has no NASM text")


def instruction_text(instruction: Any, isa: Isa) -> str:
    """`vfmadd231ps zmm0, zmm1, [rdi + 64]`; a comparison has its predicate's name, `vcmpltps k1, zmm0, zmm1`.

    Raises ValueError for an instruction above the level.
    """
    needs = {str(extension) for extension in instruction.isa_extensions}
    if not needs <= isa.extensions:
        raise ValueError(f"{instruction} needs {sorted(needs - isa.extensions)}, which {isa.name} does not have")
    mnemonic, operands = instruction.name.lower(), instruction.operands
    if compare := _COMPARE.fullmatch(mnemonic):
        mnemonic = f"{compare[1]}{_PREDICATES[operands[-1]]}{compare[2]}"
        operands = operands[:-1]
    return f"{mnemonic} {', '.join(map(operand_text, operands))}".rstrip()
