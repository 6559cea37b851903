"""Records one kernel: PeachPy instructions, labels of a loop nest, comments, constants; ends in a Listing.

    asm = Assembler(AVX512, "float32", "relu_fwd_n64_avx512")
    with asm:
        src = asm.argument(0, "src")
        acc = asm.vec.alloc("acc")
        with asm.loop("i", 64) as i:
            asm.v.load(acc, [src])
            ...
    listing = asm.finish(facts)

Inside the `with`, plain PeachPy instructions (`ADD(src, 64)`) are recorded as they are constructed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peachpy.x86_64 as x86
from peachpy.stream import InstructionStream
from peachpy.x86_64.operand import MemoryOperand, RIPRelativeOffset
from peachpy.x86_64.pseudo import LABEL, Label
from peachpy.x86_64.registers import rsp

from asmgen.asm.isa import ELEMENT_BYTES, Isa
from asmgen.asm.listing import Constant, Facts, Listing, Loop, Phase
from asmgen.asm.printer import instruction_text
from asmgen.asm.regfile import RegFile
from asmgen.asm.usage import Usage
from asmgen.asm.vec import Vec
from asmgen.errors import ReachError

# What PeachPy says of a displacement and of an immediate that do not fit.
_TOO_FAR = re.compile(r"not representable as a signed 32-bit integer|can not be encoded as imm32")
_ARGUMENTS = (x86.rdi, x86.rsi, x86.rdx, x86.rcx, x86.r8, x86.r9)
_SCRATCH = (x86.rax, x86.r10, x86.r11)
_SAVED = (x86.rbx, x86.rbp, x86.r12, x86.r13, x86.r14, x86.r15)
_NOTE_COLUMN = 62
_LINE_BYTES = 64
_PAGE_BYTES = 4096
_MAX_SCRATCH_BYTES = 256 * 1024


class Assembler:
    """The recorder of one kernel for one ISA and dtype (contracts: docs/architecture.md, Kernel ABI).

    gp, vec, mask: register files. v: vector operations in the kernel's dtype. Registers of arguments that a kernel
    does not name with `argument` are free for other use after `release_arguments`.
    """

    def __init__(self, isa: Isa, dtype: str, symbol: str) -> None:
        self.isa = isa
        self.dtype = dtype
        self.symbol = symbol
        self.element_bytes = ELEMENT_BYTES[dtype]
        self.lanes = isa.lanes(dtype)
        self._family = {16: "xmm", 32: "ymm", 64: "zmm"}[isa.vector_bytes]
        self.gp = RegFile("general-purpose", [*_SCRATCH, *_ARGUMENTS, *_SAVED])
        self.vec = RegFile("vector", [getattr(x86, f"{self._family}{i}") for i in range(isa.n_vregs)])
        self.mask = RegFile("mask", [getattr(x86, f"k{i}") for i in range(1, 8)] if isa.has_mask else [])
        for index, register in enumerate(_ARGUMENTS):
            self.gp.reserve(register, f"argument {index}")
        self.v = Vec(self)
        self._stream = InstructionStream()
        self._comments: dict[int, list[str]] = {}
        self._notes: dict[int, str] = {}
        self._explained: set[tuple[str, ...]] = set()
        self._loops: list[Loop] = []
        self._phases: list[str] = []
        self._nest: list[str] = []
        self._labels: dict[str, int] = {}
        self._constants: dict[str, Constant] = {}
        self._slots: dict[int, str] = {}  # offset from rsp -> name
        self._scratch_bytes = 0
        self._arguments_named: set[int] = set()

    def __enter__(self) -> Assembler:
        self._stream.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raises ReachError in place of PeachPy's errors about numbers of more than 32 bits."""
        self._stream.__exit__(kind, error, trace)
        if isinstance(error, ValueError) and _TOO_FAR.search(str(error)):
            raise ReachError("it needs an offset of more than 31 bits from a pointer") from error

    # registers -----------------------------------------------------------------------------------------------------

    def argument(self, index: int, name: str) -> Any:
        """The register of argument `index` (0..5), renamed for the map."""
        register = _ARGUMENTS[index]
        self.gp.free(register)
        self._arguments_named.add(index)
        return self.gp.take(register, name)

    def release_arguments(self) -> None:
        """Free the argument registers that were not named."""
        for index in range(len(_ARGUMENTS)):
            if index not in self._arguments_named:
                self.gp.free(_ARGUMENTS[index])
                self._arguments_named.add(index)

    # text ----------------------------------------------------------------------------------------------------------

    def comment(self, text: str) -> None:
        """A phase line above the next instruction."""
        self._comments.setdefault(len(self._stream), []).append(text)

    def explain(self, *lines: str) -> None:
        """Phase lines above the next instruction, the first time that a kernel has them; nothing where it has."""
        if lines not in self._explained:
            self._explained.add(lines)
            for line in lines:
                self.comment(line)

    def note(self, text: str) -> None:
        """A right-hand note on the instruction recorded last."""
        self._notes[len(self._stream) - 1] = text

    def phase(self, name: str = "") -> None:
        """Registers taken from here on are listed under this phase of the kernel in the header; "": throughout."""
        if name and name not in self._phases:
            self._phases.append(name)
        for registers in (self.vec, self.mask, self.gp):
            registers.phase = name

    def move(self, pointer: Any, distance: int, what: str) -> None:
        """pointer (a register, or a stack slot) += distance; nothing where it is 0. what: the note, `x: next row`."""
        if distance == 0:
            return
        if distance > 0:
            x86.ADD(pointer, distance)
        else:
            x86.SUB(pointer, -distance)
        self.note(what)

    def name_of(self, pointer: Any) -> str:
        """The name that a register, or a stack slot, was taken under."""
        return (
            self._slots[pointer.address.displacement] if isinstance(pointer, MemoryOperand) else self.gp.holder(pointer)
        )

    # control -------------------------------------------------------------------------------------------------------

    def label(self, name: str) -> Any:
        """A fresh label: `name`, or `name_2`, `name_3`... where it was used before. Place it with `place`."""
        count = self._labels[name] = self._labels.get(name, 0) + 1
        return Label(name if count == 1 else f"{name}_{count}")

    def place(self, label: Any) -> None:
        LABEL(label)

    @contextmanager
    def loop(self, name: str, trips: int | str, counter: Any = None, *, on_stack: bool = False) -> Iterator[Any]:
        """Repeat the body `trips` times; the label spells the nest (`.n_oh_ow`).

        trips: an int, or text for the header when the count is already in `counter` (then a count of 0 skips the
        body). counter: a register to count in (default: one is allocated, and freed at the end), or on_stack for
        outer loops when registers are scarce. Yields the counter (counts down), or None for a single trip.
        """
        self._loops.append(Loop(name, str(trips), len(self._nest)))
        self._nest.append(name)
        try:
            if isinstance(trips, int) and trips < 1:
                raise ValueError(f"loop {name} of {self.symbol} would run {trips} times")
            if trips == 1:
                yield None
                return
            label = self.label("_".join(self._nest))
            runtime = isinstance(trips, str)
            own = counter is None and not on_stack
            take = self.stack_slot if on_stack else self.gp.alloc
            where = take(f"{name} left") if own or on_stack else counter
            end = self.label("_".join(self._nest) + "_end") if runtime else None
            if runtime:
                x86.TEST(counter, counter)
                x86.JZ(end)
                if on_stack:
                    x86.MOV(where, counter)
            else:
                x86.MOV(where, trips)
            self.place(label)
            yield where
            x86.SUB(where, 1)
            x86.JNZ(label)
            if end is not None:
                self.place(end)
            if own:
                self.gp.free(where)
        finally:
            self._nest.pop()

    @contextmanager
    def set_bits(self, name: str, trips: str, mask: Any, index: Any) -> Iterator[None]:
        """Repeat the body for each set bit of `mask`, lowest first, with its number in `index`.

        The body may change `index`. mask is 0 afterwards; a mask of 0 skips the body. trips: text for the header.
        """
        self._loops.append(Loop(name, trips, len(self._nest)))
        self._nest.append(name)
        label = self.label("_".join(self._nest))
        end = self.label("_".join(self._nest) + "_end")
        x86.TEST(mask, mask)
        x86.JZ(end)
        self.place(label)
        has_bmi = "BMI" in self.isa.extensions
        (x86.TZCNT if has_bmi else x86.BSF)(index, mask)
        try:
            yield
        finally:
            self._nest.pop()
        if has_bmi:
            x86.BLSR(mask, mask)
        else:
            x86.LEA(index, [mask - 1])
            x86.AND(mask, index)
        x86.JNZ(label)
        self.place(end)

    def stack_slot(self, name: str) -> Any:
        """A fresh quadword of the frame, as a memory operand; instructions without a note of their own get its name."""
        offset = self._scratch_bytes + 8 * len(self._slots)
        self._slots[offset] = name
        return x86.qword[rsp + offset]

    def _slot_name(self, instruction: Any) -> str | None:
        """The name of the slot that an instruction reads or writes."""
        for operand in instruction.operands:
            if isinstance(operand, MemoryOperand) and getattr(operand.address, "base", None) == rsp and operand.size:
                return self._slots.get(operand.address.displacement)
        return None

    def scratch(self, n_bytes: int) -> Any:
        """The address of `n_bytes` of the frame, aligned to 64 B, to add displacements and indices to.

        Scratch lies below the stack slots, so it must be taken before the first of them; the kernel must have filled
        what it reads. At most 256 KB a kernel; every page is touched in order, so that a guard page below the
        stack is never jumped over.
        """
        if self._slots:
            raise ValueError(f"{self.symbol}: scratch must be taken before the first stack slot")
        at = self._scratch_bytes
        self._scratch_bytes += -(-n_bytes // _LINE_BYTES) * _LINE_BYTES
        if self._scratch_bytes > _MAX_SCRATCH_BYTES:
            raise ValueError(f"{self.symbol}: {self._scratch_bytes} B of scratch, at most {_MAX_SCRATCH_BYTES}")
        return rsp + at

    def _frame(self) -> tuple[list[str], list[str]]:
        """Lines that make room for scratch and slots, and that give it back. An aligned frame keeps the old rsp."""
        size = self._scratch_bytes + 8 * len(self._slots)
        if not self._scratch_bytes:
            return ([f"    sub rsp, {size}"], [f"    add rsp, {size}"]) if size else ([], [])
        n_pages, rest = divmod(-(-(size + 8) // _LINE_BYTES) * _LINE_BYTES, _PAGE_BYTES)
        enter = [f"{'    mov rax, rsp':<{_NOTE_COLUMN}}; a frame of {size} B, aligned", f"    and rsp, -{_LINE_BYTES}"]
        if n_pages:
            enter += [f"    lea r11, [rsp - {n_pages * _PAGE_BYTES}]", ".touch_page:", f"    sub rsp, {_PAGE_BYTES}"]
            enter += ["    test qword [rsp], rsp", "    cmp rsp, r11", "    jne .touch_page"]
        if rest:
            enter.append(f"    sub rsp, {rest}")
        save, restore = f"    mov qword [rsp + {size}], rax", f"    mov rsp, qword [rsp + {size}]"
        return [*enter, f"{save:<{_NOTE_COLUMN}}; the caller's rsp"], [restore]

    # constants -----------------------------------------------------------------------------------------------------

    def vector_constant(self, name: str, values: Sequence[float] | float, note: str = "") -> MemoryOperand:
        """A vector of the kernel's dtype in .rodata (one value = in every lane). Aligned to its size."""
        lanes = [values] * self.lanes if isinstance(values, (int, float)) else list(values)
        if len(lanes) % self.lanes:
            raise ValueError(f"constant {name}: {len(lanes)} values do not fill vectors of {self.lanes}")
        code, word = ("<f", "<I") if self.element_bytes == 4 else ("<d", "<Q")
        words = [struct.unpack(word, struct.pack(code, value))[0] for value in lanes]
        return self._constant(name, words, note or (f"{lanes[0]!r}" if len(set(lanes)) == 1 else "per lane"))

    def integer_constant(self, name: str, words: Sequence[int] | int, note: str = "") -> MemoryOperand:
        """A vector of integer words as wide as the dtype (one value = in every lane)."""
        lanes = [words] * self.lanes if isinstance(words, int) else list(words)
        return self._constant(name, [word % (1 << 8 * self.element_bytes) for word in lanes], note)

    def _constant(self, name: str, words: list[int], note: str) -> MemoryOperand:
        constant = Constant(name, self.element_bytes, tuple(words), note)
        if self._constants.setdefault(name, constant) != constant:
            raise ValueError(f"two different constants named {name} in {self.symbol}")
        operand = MemoryOperand(RIPRelativeOffset(0))
        operand.symbol = f".{name}"  # NASM makes it local to the kernel's symbol, like the labels of loops
        return operand

    # the end -------------------------------------------------------------------------------------------------------

    def _register_phases(self, usage: Usage) -> Iterator[Phase]:
        """The register map by phase; nothing for a kernel without phases."""
        for name in ["", *self._phases] if self._phases else []:
            files = (self.vec, self.mask, self.gp)
            rows = (row for file in files for row in file.register_map(usage.referenced, name))
            yield Phase(name or "throughout", tuple(rows))

    def finish(self, facts: Facts) -> Listing:
        """Add prologue and epilogue and freeze everything into a Listing."""
        usage = Usage(self._stream, self._family)
        saved = [register for register in _SAVED if str(register) in usage.referenced]
        enter, leave = self._frame()
        lines: list[str] = [f"    push {register}" for register in saved] + enter
        n_instructions = 0
        for position, instruction in enumerate(self._stream):
            lines.extend(f"    ; {text}" for text in self._comments.get(position, ()))
            if isinstance(instruction, LABEL):
                lines.append(f".{instruction.operands[0]}:")
                continue
            n_instructions += 1
            text = f"    {instruction_text(instruction, self.isa)}"
            note = self._notes.get(position) or self._slot_name(instruction)
            lines.append(f"{text:<{_NOTE_COLUMN}}; {note}" if note else text)
        lines.extend(f"    ; {text}" for text in self._comments.get(len(self._stream), ()))
        lines.extend(leave)
        lines.extend(f"    pop {register}" for register in reversed(saved))
        clears_upper = self.isa.has_vex and not usage.referenced.isdisjoint(self.vec.names())
        if clears_upper:
            lines.append("    vzeroupper")
        upper = [f"(vzeroupper: bits 128 and up of {self._family}0-15)"] if clears_upper else []
        lines.append("    ret")
        return Listing(
            symbol=self.symbol,
            isa=self.isa.name,
            dtype=self.dtype,
            facts=facts,
            lines=tuple(lines),
            constants=tuple(self._constants.values()),
            loops=tuple(self._loops),
            vector_registers=tuple(self.vec.register_map(usage.referenced) + self.mask.register_map(usage.referenced)),
            gp_registers=tuple(self.gp.register_map(usage.referenced)),
            phases=tuple(self._register_phases(usage)),
            saved=tuple(str(register) for register in saved),
            clobbers=(*usage.clobbers([*_SCRATCH, *_ARGUMENTS], self.vec, self.mask, enter), *upper),
            n_instructions=n_instructions,
        )
