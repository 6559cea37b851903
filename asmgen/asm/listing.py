"""What a kernel emitter returns: the code with its facts, and the text of the `.asm` file."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

import jinja2

from asmgen.paths import TEMPLATES_DIR

#: Registers of the pointers, in the order of C's arguments; begin and end of the slice follow them in r8 and r9.
POINTER_REGISTERS = ("rdi", "rsi", "rdx", "rcx")

#: What an argument's `ctype` points to, in C.
C_TYPES = {
    "f32": "float",
    "f64": "double",
    "u8": "uint8_t",
    "u32": "uint32_t",
    "u64": "uint64_t",
    "loss block": "void",
}
MAX_COLUMNS = 120
_LINE_WORD_BYTES = 32  # of a constant, on a line
_MARGIN = re.compile(r"; *(?:\S+ {2,})?")


@dataclass(frozen=True)
class Argument:
    """A kernel argument: register, name, type (a key of C_TYPES), layout and direction, as the header shows them."""

    register: str
    name: str
    ctype: str
    layout: str
    direction: str  # "in" | "out" | "in/out"
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What the header and the reports say of a kernel."""

    title: str  # one line: op and shapes
    source: str  # the Python file that emits it, relative to the repository
    formula: tuple[str, ...]
    arguments: tuple[Argument, ...]
    slice_unit: str  # what [begin, end) counts
    flops: int  # floating point operations of one call over the whole slice (multiply and add count one each)
    bytes_read: int
    bytes_written: int
    tile: str
    notes: tuple[str, ...] = ()
    flops_note: str = ""  # whose operations `flops` counts, where the kernel does fewer
    roofline: str = ""  # flop a byte, cycles at the peak, of traffic, and predicted


@dataclass(frozen=True)
class Constant:
    """A read-only datum: `values` are 32- or 64-bit words, already as integers."""

    label: str
    word_bytes: int
    words: tuple[int, ...]
    note: str

    def data(self) -> str:
        """The directives that make the words, a few to a line; equal ones as a repetition."""
        directive = "dd" if self.word_bytes == 4 else "dq"
        if len(self.words) > 1 and len(set(self.words)) == 1:
            return f"times {len(self.words)} {directive} 0x{self.words[0]:x}"
        words = [f"0x{word:x}" for word in self.words]
        step = _LINE_WORD_BYTES // self.word_bytes
        lines = (", ".join(words[at : at + step]) for at in range(0, len(words), step))
        return "\n    ".join(f"{directive} {line}" for line in lines)


@dataclass(frozen=True)
class Loop:
    """A loop of the nest: name, trip count (an int, or what decides it) and depth."""

    name: str
    trips: str
    depth: int


@dataclass(frozen=True)
class Phase:
    """A phase of a kernel that takes registers anew: its name, and (register, the names it has in it)."""

    name: str
    registers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """One kernel: symbol, instructions as text lines, constants and facts."""

    symbol: str
    isa: str
    dtype: str
    facts: Facts
    lines: tuple[str, ...]
    constants: tuple[Constant, ...]
    loops: tuple[Loop, ...]
    vector_registers: tuple[tuple[str, str], ...]
    gp_registers: tuple[tuple[str, str], ...]
    phases: tuple[Phase, ...]  # the same registers by phase; none where the kernel has no phases
    saved: tuple[str, ...]
    clobbers: tuple[str, ...]  # what the kernel changes and does not save
    n_instructions: int

    def prototype(self) -> str:
        """The kernel's declaration in C. Registers that it does not read are arguments `unused_...`, so that the others
        are where SysV puts them."""
        by_register = {argument.register: argument for argument in self.facts.arguments}
        pointers = [_declaration(register, by_register.get(register)) for register in POINTER_REGISTERS]
        return f"void {self.symbol}({', '.join(pointers)}, size_t begin, size_t end);"

    def argument_rows(self) -> list[str]:
        """The arguments as a table: register, name, type and layout, direction, note."""
        rows = [
            (argument.register, argument.name, f"{argument.ctype} {argument.layout}", argument.direction, argument.note)
            for argument in self.facts.arguments
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
        return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]

    def text(self) -> str:
        """The complete `.asm` file; the same listing always gives the same bytes."""
        rendered = _environment().get_template("kernel.asm.j2").render(listing=self, facts=self.facts)
        return "\n".join(part for line in rendered.split("\n") for part in _wrapped(line.rstrip()))


def _wrapped(line: str) -> list[str]:
    """A line of the header in pieces of at most 120 columns, those behind the first below its text."""
    if len(line) <= MAX_COLUMNS or not line.startswith(";"):
        return [line]
    margin = _MARGIN.match(line)
    assert margin
    behind = ";" + " " * (margin.end() - 1)
    return textwrap.wrap(line, MAX_COLUMNS, subsequent_indent=behind, break_long_words=False, break_on_hyphens=False)


def _declaration(register: str, argument: Argument | None) -> str:
    if argument is None:
        return f"const void *unused_{register}"
    const = "const " if argument.direction == "in" else ""
    return f"{const}{C_TYPES[argument.ctype]} *{argument.name}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES_DIR),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}".replace(",", " ")
    return environment
