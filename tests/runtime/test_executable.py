"""What kind of file the trainer is, and that building it twice gives the same bytes."""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path

import pytest

from asmgen.errors import AsmgenError, ToolError
from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.link import link_shared, link_trainer
from asmgen.toolchain.nasm import Source, assemble, assemble_all
from tests.runtime.linear import Linear

PT_LOAD, PT_INTERP, PT_DYNAMIC, PT_GNU_STACK = 1, 3, 2, 0x6474E551
EXECUTE, WRITE = 1, 2
MAX_SYSTEM_CALLS = 25
DOCUMENT = RUNTIME_DIR.parent / "docs" / "runtime.md"


def segments(executable: Path) -> list[tuple[int, int]]:
    """(type, flags) of every program header."""
    content = executable.read_bytes()
    (at,), (size, count) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
    return [struct.unpack_from("<II", content, at + index * size) for index in range(count)]


def test_static_and_nothing_both_writable_and_executable(trainer: Path) -> None:
    found = segments(trainer)
    kinds = [kind for kind, _ in found]
    assert PT_INTERP not in kinds
    assert PT_DYNAMIC not in kinds
    assert [flags & EXECUTE for kind, flags in found if kind == PT_GNU_STACK] == [0]
    assert [flags for kind, flags in found if kind == PT_LOAD and flags & WRITE and flags & EXECUTE] == []
    assert sum(bool(flags & EXECUTE) for kind, flags in found if kind == PT_LOAD) == 1


def test_system_calls_are_the_documented_ones() -> None:
    used: set[str] = set()
    for source in RUNTIME_DIR.rglob("*.asm"):
        text = source.read_text()
        used |= set(re.findall(r"SYSCALL SYS_(\w+)", text))
        assert not re.search(r"^\s+(syscall|int\s)", text, re.MULTILINE), f"{source} makes a call beside the macro"
    documented = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert used == documented
    assert len(used) <= MAX_SYSTEM_CALLS


def test_same_input_same_bytes(trainer: Path, tmp_path: Path) -> None:
    again = Linear().build(tmp_path / "a rather different folder")
    assert again.read_bytes() == trainer.read_bytes()
    assert (again.parent / "kernels.so").read_bytes() == (trainer.parent / "kernels.so").read_bytes()
    assert b".debug_line" in again.read_bytes()
    for name in (b"rather different", b"pytest", str(RUNTIME_DIR).encode(), tempfile.gettempdir().encode()):
        assert name not in again.read_bytes()


def test_objects_of_an_earlier_build_go(tmp_path: Path) -> None:
    Linear().build(tmp_path)
    (tmp_path / "objects" / "gone.o").write_bytes(b"")
    Linear().build(tmp_path)
    assert not (tmp_path / "objects" / "gone.o").exists()
    assert (tmp_path / "objects" / "linear.stamp").exists()


def test_the_runtime_assembles_without_warnings(tmp_path: Path) -> None:
    for source in RUNTIME_DIR.rglob("*.asm"):
        assemble(source, tmp_path / f"{source.stem}.o", (RUNTIME_DIR,), ("-Werror",))


def test_only_what_changed_is_assembled(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    asm, inc, raw, obj = (tmp_path / name for name in ("a.asm", "in/b.inc", "in/c.bin", "a.o"))
    asm.write_text('%include "b.inc"\nx: incbin "c.bin"\n')
    inc.write_text("dd 1\n")
    raw.write_bytes(b"1")

    def time_stamp() -> int:
        assemble(asm, obj, (tmp_path / "in",))
        return obj.stat().st_mtime_ns

    first = time_stamp()
    asm.touch()
    assert time_stamp() == first
    for file, content in ((inc, "dd 2\n"), (raw, "2"), (asm, asm.read_text() + "dd 3\n")):
        file.write_text(content)
        second = time_stamp()
        assert second > first, file
        first = second


def test_tool_errors(tmp_path: Path) -> None:
    bad = tmp_path / "bad.asm"
    bad.write_text("section .text\n  vaddps zmm0, rax\n  mov al, rax\n")
    with pytest.raises(ToolError, match=r"nasm cannot assemble .*bad\.asm: bad\.asm:2: error: .* \(and 1 more\)"):
        assemble_all([Source(bad, tmp_path / "bad.o")])
    assert not (tmp_path / "bad.o").exists()
    note = "section .note.GNU-stack noalloc noexec nowrite progbits\n"
    bad.write_text(f"{note}section .text\nglobal _start\n_start: call elsewhere\nextern elsewhere\n")
    assemble(bad, tmp_path / "bad.o")
    for link in (link_trainer, link_shared):
        with pytest.raises(ToolError, match=r"ld cannot link .*out: .*elsewhere"):
            link([tmp_path / "bad.o"], tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_warnings_of_the_assembler_are_errors(tmp_path: Path) -> None:
    cut = tmp_path / "cut.asm"
    cut.write_text("section .text\n  lea rdi, [rbx + 3000000000]\n")
    with pytest.raises(ToolError, match=r"cut\.asm:2: error: dword data exceeds bounds"):
        assemble(cut, tmp_path / "cut.o")
    assert not (tmp_path / "cut.o").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu_features": ("avx9",)}, "trainer of linear: runtime/cpu.asm has no row for avx9"),
        ({"dtype": "float16"}, "trainer of linear: dtype 'float16' is not one of float32, float64"),
        ({"outputs": 300}, "trainer of linear: 300 classes; a label is a byte, so 1 to 256"),
    ],
)
def test_contract(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(AsmgenError, match=f"^{re.escape(message)}$"):
        Linear(**changes).build(tmp_path)
