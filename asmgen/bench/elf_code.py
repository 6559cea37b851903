"""What of an ELF object is code: the sections that are loaded, what is relocated in them, the symbols they define."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from asmgen.errors import ToolError

_ALLOC = 2  # SHF_ALLOC
_NOBITS, _RELA, _SYMTAB = 8, 4, 2
_LOCAL = 0


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    content: bytes
    size: int
    link: int
    info: int
    align: int


def object_code(elf: bytes, renamed: dict[str, str]) -> tuple[object, ...]:
    """Loaded sections, relocations and global symbols of a relocatable object. Names of local labels do not matter.

    `renamed`: names of global symbols to replace by others. Raises ToolError for what is no ELF object of 64 bits.
    """
    if elf[:5] != b"\x7fELF\x02":
        raise ToolError("not an ELF object of 64 bits")
    sections = _sections(elf)
    symbols = _symbols(sections, renamed)
    loaded = tuple(
        (section.name, section.flags, section.align, section.size, section.content)
        for section in sections
        if section.flags & _ALLOC and section.size
    )
    relocations = []
    for section in sections:
        if section.kind == _RELA and sections[section.info].flags & _ALLOC:
            for offset, info, addend in struct.iter_unpack("<QQq", section.content):
                symbol = symbols[info >> 32][1]
                relocations.append((sections[section.info].name, offset, info & 0xFFFFFFFF, addend, symbol))
    defined = sorted(str(symbol) for is_global, symbol in symbols if is_global)
    return loaded, tuple(relocations), tuple(defined)


def _sections(elf: bytes) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * size) for i in range(count)]
    names = elf[headers[names_index][4] :]
    sections = []
    for name, kind, flags, _, offset, length, link, info, align, _ in headers:
        content = b"" if kind == _NOBITS else elf[offset : offset + length]
        sections.append(_Section(_text(names, name), kind, flags, content, length, link, info, align))
    return sections


def _symbols(sections: list[_Section], renamed: dict[str, str]) -> list[tuple[bool, tuple[str, int]]]:
    """Of each symbol, whether it is global and defined here, and what it is: a place, or the name of one elsewhere."""
    found: list[tuple[bool, tuple[str, int]]] = []
    for table in (section for section in sections if section.kind == _SYMTAB):
        names = sections[table.link].content
        for name, info, _, index, value, _ in struct.iter_unpack("<IBBHQQ", table.content):
            if info >> 4 == _LOCAL:
                place = sections[index].name if index < len(sections) else "absolute"
                found.append((False, (place, value)))
            else:
                text = _text(names, name)
                found.append((index != 0, (renamed.get(text, text), value)))
    return found


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode()
