"""Registers, loops, labels, constants and the frame that the Assembler puts around a kernel."""

from __future__ import annotations

import struct

import peachpy.x86_64 as x86
import pytest

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import AVX2, AVX512, SSE41, Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.asm.regfile import RegFile

FACTS = Facts("title", "tests", ("y = x",), (), "samples", 0, 0, 0, "none")


def assembler(isa: Isa = AVX2, dtype: str = "float32") -> Assembler:
    return Assembler(isa, dtype, "kernel")


def code(listing: Listing) -> list[str]:
    """The lines without indentation, notes one space behind."""
    return [" ".join(line.split()) for line in listing.lines]


def test_a_full_register_file_names_its_holders() -> None:
    registers = RegFile("vector", [x86.xmm0, x86.xmm1])
    registers.alloc("acc[0]")
    registers.alloc("x")
    with pytest.raises(RuntimeError, match=r"no vector register left for 'w'; held: xmm0=acc\[0\], xmm1=x"):
        registers.alloc("w")


def test_a_held_register_cannot_be_taken() -> None:
    registers = RegFile("general-purpose", [x86.rax, x86.rcx])
    registers.alloc("src")
    with pytest.raises(RuntimeError, match="register rax wanted for 'count' is held: src"):
        registers.take(x86.rax, "count")


def test_freed_registers_come_back_in_order_and_the_map_keeps_every_name() -> None:
    registers = RegFile("vector", [x86.xmm0, x86.xmm1, x86.xmm2])
    first, second = registers.alloc("a"), registers.alloc("b")
    registers.free(second)
    registers.free(first)
    assert registers.n_free() == 3
    assert registers.alloc("c") == x86.xmm0
    assert registers.register_map({"xmm0", "xmm1"}) == [("xmm0", "a / c"), ("xmm1", "b")]
    assert registers.register_map({"xmm0"}) == [("xmm0", "a / c")]


@pytest.mark.parametrize(("isa", "count"), [(SSE41, 16), (AVX2, 16), (AVX512, 32)])
def test_every_vector_register_of_the_level_can_be_held(isa: Isa, count: int) -> None:
    asm = assembler(isa)
    assert len({str(asm.vec.alloc(f"v{i}")) for i in range(count)}) == count
    with pytest.raises(RuntimeError, match=f"v{count - 1}"):
        asm.vec.alloc("one more")


def test_nested_loops_spell_their_nest() -> None:
    asm = assembler()
    with asm:
        for _ in range(2):
            with asm.loop("oh", 3), asm.loop("ow", 5):
                x86.ADD(x86.rdi, 4)
        with asm.loop("once", 1) as counter:
            assert counter is None
    listing = asm.finish(FACTS)
    assert [line for line in code(listing) if line.startswith(".")] == [".oh:", ".oh_ow:", ".oh_2:", ".oh_ow_2:"]
    assert [(loop.name, loop.trips, loop.depth) for loop in listing.loops] == [
        ("oh", "3", 0), ("ow", "5", 1), ("oh", "3", 0), ("ow", "5", 1), ("once", "1", 0),
    ]  # fmt: skip
    assert code(listing)[:7] == [
        "mov rax, 3", ".oh:", "mov r10, 5", ".oh_ow:", "add rdi, 4", "sub r10, 1", "jnz .oh_ow",
    ]  # fmt: skip


def test_a_runtime_count_of_zero_skips_the_body() -> None:
    asm = assembler()
    with asm, asm.loop("n", "end - begin", asm.argument(5, "left")):
        x86.ADD(x86.rdi, 4)
    assert code(asm.finish(FACTS)) == [
        "test r9, r9", "jz .n_end", ".n:", "add rdi, 4", "sub r9, 1", "jnz .n", ".n_end:", "ret",
    ]  # fmt: skip


def test_a_loop_that_never_runs_is_refused() -> None:
    asm = assembler()
    with pytest.raises(ValueError, match="loop ow of kernel would run 0 times"), asm, asm.loop("ow", 0):
        pass


def test_the_frame_saves_what_is_used_and_nothing_else() -> None:
    asm = assembler()
    with asm:
        for name in "abc":  # the scratch registers
            asm.gp.alloc(name)
        saved = asm.gp.alloc("d")
        slot = asm.stack_slot("kept")
        x86.MOV(slot, saved)
        asm.v.zero(asm.vec.alloc("zero"))
    listing = asm.finish(FACTS)
    assert listing.saved == ("rbx",)
    assert code(listing) == [
        "push rbx", "sub rsp, 8", "mov qword [rsp], rbx ; kept", "vxorps ymm0, ymm0, ymm0", "add rsp, 8", "pop rbx",
        "vzeroupper", "ret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("isa", "expected"),
    [
        (SSE41, ("rax", "rdi", "xmm0-1", "xmm3", "flags")),
        (AVX2, ("rax", "rdi", "ymm0-1", "ymm3", "flags", "(vzeroupper: bits 128 and up of ymm0-15)")),
        (AVX512, ("rax", "rdi", "zmm0-1", "zmm3", "k1", "flags", "(vzeroupper: bits 128 and up of zmm0-15)")),
    ],
)
def test_the_header_lists_what_changes_and_what_is_used(isa: Isa, expected: tuple[str, ...]) -> None:
    """rsi and c are only read, rbx is saved; a part of a register counts as the register."""
    asm = assembler(isa)
    with asm:
        src, dst = asm.argument(0, "src"), asm.argument(1, "dst")
        a, b, c, d = (asm.vec.alloc(name) for name in "abcd")
        x86.MOV(x86.eax, [src])
        x86.MOV(asm.gp.take(x86.rbx, "saved"), x86.rax)
        asm.v.load(a, [src])
        asm.v.load(b, [src])
        asm.v.store([dst], c)
        asm.v.zero(d)
        if isa.has_mask:
            x86.VCMPPS(asm.mask.alloc("m"), a, b, 1)
            asm.mask.alloc("unused")
        x86.ADD(src, 64)
        asm.vec.alloc("unused")
    listing = asm.finish(FACTS)
    assert listing.clobbers == expected
    names = [name for _, name in listing.vector_registers]
    assert names == ["a", "b", "c", "d"] + ["m"] * isa.has_mask
    assert listing.saved == ("rbx",)


@pytest.mark.parametrize(("n_bytes", "expected"), [(64, ("rax", "flags")), (4096, ("rax", "r11", "flags"))])
def test_what_makes_the_frame_is_clobbered(n_bytes: int, expected: tuple[str, ...]) -> None:
    asm = assembler()
    with asm:
        asm.scratch(n_bytes)
    assert asm.finish(FACTS).clobbers == expected


def test_flags_survive_moves_and_vector_arithmetic() -> None:
    asm = assembler()
    with asm:
        x86.MOV(x86.rax, x86.rdi)
        x86.LEA(x86.r10, [x86.rax + 8])
        asm.v.add(asm.vec.alloc("sum"), x86.ymm1, [x86.rdi])
    assert "flags" not in asm.finish(FACTS).clobbers


def test_registers_that_an_instruction_fixes_are_clobbered() -> None:
    asm = assembler()
    with asm:
        x86.MUL(x86.rcx)
    assert asm.finish(FACTS).clobbers == ("rax", "rdx", "flags")


def test_equal_words_print_as_a_repetition() -> None:
    asm = assembler()
    with asm:
        asm.v.load(asm.vec.alloc("one"), asm.vector_constant("one", 1.0))
        asm.v.load(asm.vec.alloc("count"), asm.integer_constant("count", [0, 1, 2, 3, 4, 5, 6, 7]))
    one, count = asm.finish(FACTS).constants
    assert one.data() == "times 8 dd 0x3f800000"
    assert count.data() == "dd " + ", ".join(f"0x{i}" for i in range(8))


def test_scratch_is_aligned_and_lies_below_the_slots() -> None:
    asm = assembler()
    with asm:
        first, second = asm.scratch(40), asm.scratch(128)
        slot = asm.stack_slot("kept")
        for place in (x86.qword[first], x86.qword[second + 8], slot):
            x86.MOV(place, x86.rdi)
    assert code(asm.finish(FACTS)) == [
        "mov rax, rsp ; a frame of 200 B, aligned", "and rsp, -64", "sub rsp, 256",
        "mov qword [rsp + 200], rax ; the caller's rsp",
        "mov qword [rsp], rdi", "mov qword [rsp + 72], rdi", "mov qword [rsp + 192], rdi ; kept",
        "mov rsp, qword [rsp + 200]", "ret",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="kernel: scratch must be taken before the first stack slot"):
        asm.scratch(64)
    with pytest.raises(ValueError, match="kernel: 262208 B of scratch, at most 262144"):
        assembler().scratch(262145)


def test_constants_are_words_and_one_name_has_one_value() -> None:
    asm = assembler(SSE41, "float64")
    asm.vector_constant("half", 0.5)
    asm.vector_constant("half", 0.5)
    asm.integer_constant("minus", -1)
    with pytest.raises(ValueError, match="two different constants named half in kernel"):
        asm.vector_constant("half", 0.25)
    with pytest.raises(ValueError, match="constant odd: 3 values do not fill vectors of 2"):
        asm.vector_constant("odd", [1.0, 2.0, 3.0])
    with asm:
        pass
    half, minus = asm.finish(FACTS).constants
    assert half.words == (struct.unpack("<Q", struct.pack("<d", 0.5))[0],) * 2
    assert minus.words == (2**64 - 1,) * 2


def test_comments_and_notes_stand_at_their_instruction() -> None:
    asm = assembler()
    with asm:
        asm.comment("first")
        x86.ADD(x86.rdi, 4)
        asm.note("next pixel")
    lines = asm.finish(FACTS).lines
    assert lines[0] == "    ; first"
    assert lines[1].split() == ["add", "rdi,", "4", ";", "next", "pixel"]


def test_the_same_listing_gives_the_same_text() -> None:
    texts = set()
    for _ in range(2):
        asm = assembler()
        with asm, asm.loop("n", 2):
            x86.ADD(x86.rdi, 4)
        texts.add(asm.finish(FACTS).text())
    (text,) = texts
    assert "global kernel:function" in text
    assert not any(line != line.rstrip() for line in text.splitlines())
