"""asmgen/bench/replay.py: differences planted in what two sides generated, and what is said of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from asmgen.bench import replay
from asmgen.bench.replay import Build, Difference, Side

CPU = Build("tiny", "float32", "avx2")
CUDA = Build("tiny", "float32", "cuda")
KERNEL = """\
; a kernel
default rel
global {name}
section .text
{name}:
    mov     rax, {value}        ; "value"
.loop:
    vmovaps ymm0, [table]
    jmp     .loop
section .rodata align=32
table: dd 1, 2, 3, 4, 5, 6, 7, 8
"""
TRAINER = """\
; a trainer
%include "kernel.inc"
a.w1 equ 0
a.y1 equ 64
section .text
KERNEL one, a.w1, a.y1
KERNEL two, a.y1, a.w1
"""
CUDA_KERNEL = """\
// a kernel
__global__ void {name}(float* x) {{ x[0] = {value}; /* of two
lines */ puts("// no comment"); }}
"""


def side(folder: Path) -> Side:
    """A side of one model for AVX2 and CUDA, each with the kernels one and two."""
    made = Side(folder)
    cpu, cuda = made.build(CPU), made.build(CUDA)
    for each in (cpu, cuda, made.runtime):
        each.mkdir(parents=True)
    for value, name in enumerate(("one", "two")):
        (cpu / f"{name}.asm").write_text(KERNEL.format(name=name, value=value))
        (cuda / f"{name}.cu").write_text(CUDA_KERNEL.format(name=name, value=value))
    (cpu / "trainer.asm").write_text(TRAINER)
    (cuda / "trainer.asm").write_text("section .rodata\ndd 7\n")
    (cuda / "trainer.cu").write_text("// a trainer\none(arena::w1); two(arena::w1);\n")
    (made.runtime / "kernel.inc").write_text(
        "%macro KERNEL 3\nextern %1\nmov rdi, %2\nmov rsi, %3\ncall %1\n%endmacro\n"
    )
    (folder / "failures.json").write_text("{}")
    return made


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    return side(tmp_path / "base"), side(tmp_path / "head")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def kernels(sides: tuple[Side, Side], build: Build) -> list[Difference]:
    return replay.compare_kernels(*(each.build(build) for each in sides)).differences


def trainer(sides: tuple[Side, Side], build: Build) -> Difference:
    old, new = (each.build(build) for each in sides)
    renamed = replay.compare_kernels(old, new).renamed
    return replay.compare_trainer(old, new, (sides[0].runtime, sides[1].runtime), renamed)


def test_equal_sides_are_all_the_same(sides: tuple[Side, Side]) -> None:
    lines, differs = replay.report(*sides)
    assert not differs
    assert lines[-1] == (
        "replay: 4 kernels in 2 builds: all the same; trainers: 2 of 2 the same code; runtime: the same code"
    )


@pytest.mark.parametrize(
    ("build", "file", "old", "new"),
    [
        (CPU, "one.asm", "; a kernel", "; another"),
        (CPU, "one.asm", '; "value"', "; 'value"),
        (CPU, "one.asm", ".loop", ".again"),
        (CPU, "one.asm", "table", "constants"),
        (CUDA, "one.cu", "// a kernel", "//"),
        (CUDA, "one.cu", "/* of two\nlines */", ""),
    ],
)
def test_other_words_with_the_same_code(sides: tuple[Side, Side], build: Build, file: str, old: str, new: str) -> None:
    edit(sides[1].build(build) / file, old, new)
    assert kernels(sides, build) == [Difference("comments", "one")]
    assert not replay.report(*sides)[1]


@pytest.mark.parametrize(
    ("build", "file", "old", "new", "lines"),
    [
        (CPU, "one.asm", "rax, 0", "rax, 9", ("- mov rax, 0", "+ mov rax, 9")),
        (CPU, "one.asm", "7, 8", "7, 9", ("- table: dd 1, 2, 3, 4, 5, 6, 7, 8", "+ table: dd 1, 2, 3, 4, 5, 6, 7, 9")),
        (CPU, "one.asm", "[table]", "[table + 32]", ("- vmovaps ymm0, [table]", "+ vmovaps ymm0, [table + 32]")),
        (CUDA, "one.cu", "// no", "// a", ('- puts("// no comment"); }', '+ puts("// a comment"); }')),
    ],
)
def test_other_code_names_the_first_line(
    sides: tuple[Side, Side], build: Build, file: str, old: str, new: str, lines: tuple[str, ...]
) -> None:
    edit(sides[1].build(build) / file, old, new)
    (found,) = kernels(sides, build)
    assert (found.kind, found.name) == ("code", "one")
    assert found.lines[0].endswith(lines[0].removeprefix("- "))
    assert found.lines[1].endswith(lines[1].removeprefix("+ "))
    said, differs = replay.report(*sides)
    assert differs
    assert "replay: 4 kernels in 2 builds: 1 differ in code; trainers: 2 of 2" in said[-1]


@pytest.mark.parametrize(("build", "ending"), [(CPU, "asm"), (CUDA, "cu")])
def test_a_renamed_kernel_is_matched_by_its_code(sides: tuple[Side, Side], build: Build, ending: str) -> None:
    folder = sides[1].build(build)
    shutil.move(folder / f"one.{ending}", folder / f"uno.{ending}")
    edit(folder / f"uno.{ending}", "one", "uno")
    edit(folder / f"trainer.{ending}", "one", "uno")
    assert kernels(sides, build) == [Difference("renamed", "one", ("+ uno",))]
    assert trainer(sides, build).kind == "comments"
    edit(folder / f"uno.{ending}", "0", "5")
    assert kernels(sides, build) == [Difference("base", "one"), Difference("head", "uno")]
    assert trainer(sides, build).kind == "code"


def test_a_renamed_kernel_of_cuda_has_other_names_and_line_breaks(sides: tuple[Side, Side]) -> None:
    """Its namespace and the kernel that adds its parts begin with the symbol without the target."""
    for each, name, gap in zip(sides, ("one", "another"), (" ", "\n    "), strict=True):
        folder = each.build(CUDA)
        (folder / "one.cu").unlink()
        code = f"#define N 7\nnamespace {name} {{ }}\nvoid {name}_cuda({gap}int a);{gap}void {name}_add_cuda();\n"
        (folder / f"{name}_cuda.cu").write_text(code)
        edit(folder / "trainer.cu", "one(arena::w1);", f"{name}_cuda({gap}arena::w1); {name}_add_cuda();")
    assert kernels(sides, CUDA) == [Difference("renamed", "one_cuda", ("+ another_cuda",))]
    assert trainer(sides, CUDA).kind == "comments"
    edit(sides[1].build(CUDA) / "another_cuda.cu", "int a", "inta")
    assert [found.kind for found in kernels(sides, CUDA)] == ["base", "head"]


def test_a_kernel_of_one_side_alone(sides: tuple[Side, Side]) -> None:
    (sides[0].build(CUDA) / "two.cu").unlink()
    (sides[1].build(CPU) / "two.asm").unlink()
    said, differs = replay.report(*sides)
    assert differs
    assert "2 kernels: 1 same, 1 only in BASE" in said[0]
    assert "1 only in BASE, 1 only in HEAD" in said[-1]


def test_tensors_of_a_trainer_may_have_other_names(sides: tuple[Side, Side]) -> None:
    edit(sides[1].build(CPU) / "trainer.asm", "a.w1", "a.weights")
    assert trainer(sides, CPU).kind == "comments"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("KERNEL one", "KERNEL two", ("- KERNEL one, [0], [64]", "+ KERNEL two, [0], [64]")),
        ("a.y1, a.w1", "a.y1, a.y1", ("- KERNEL two, [64], [0]", "+ KERNEL two, [64], [64]")),
        ("a.y1 equ 64", "a.y1 equ 128", ("- KERNEL one, [0], [64]", "+ KERNEL one, [0], [128]")),
    ],
)
def test_other_calls_of_a_trainer(sides: tuple[Side, Side], old: str, new: str, lines: tuple[str, ...]) -> None:
    edit(sides[1].build(CPU) / "trainer.asm", old, new)
    assert trainer(sides, CPU) == Difference("code", "trainer.asm", lines)


def test_a_trainer_is_assembled_with_its_sides_runtime(sides: tuple[Side, Side]) -> None:
    edit(sides[1].runtime / "kernel.inc", "call", "jmp")
    assert trainer(sides, CPU) == Difference("code", "trainer.asm", ("in what it includes",))
    assert replay.report(*sides)[0][-1].endswith("trainers: 1 of 2 the same code; runtime: 1 files differ in code")


def test_a_runtime_file_is_named_and_quoted_as_it_is(sides: tuple[Side, Side]) -> None:
    for each, text in zip(sides, ("ret", '%include "kernel.inc"\nret'), strict=True):
        (each.runtime / "cpu").mkdir()
        (each.runtime / "cpu" / "kernel.asm").write_text(f"section .text\n{text}\n")
    edit(sides[1].runtime / "cpu" / "kernel.asm", "ret", "nop")
    said = replay.report(*sides)[0]
    at = said.index("other code: runtime/cpu/kernel.asm")
    assert said[at + 1 : at + 3] == ["    - ret", '    + %include "kernel.inc"']


def test_a_file_that_nasm_refuses_is_a_difference(sides: tuple[Side, Side]) -> None:
    edit(sides[1].build(CPU) / "one.asm", "mov ", "move ")
    (found,) = kernels(sides, CPU)
    assert found.kind == "code"
    assert "error" in found.lines[0]


def test_a_build_of_one_side_alone_says_why(sides: tuple[Side, Side]) -> None:
    shutil.rmtree(sides[1].build(CUDA))
    (sides[1].folder / "failures.json").write_text('{"tiny cuda float32": "Error: no luck"}')
    said, differs = replay.report(*sides)
    assert differs
    assert "not built in HEAD: tiny cuda float32: Error: no luck" in said
    assert said[-1].startswith("replay: 2 kernels in 1 builds: all the same")
    assert said[-1].endswith("1 builds not built")


def test_a_model_whose_dtype_cannot_be_set_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "runtime").mkdir()
    (tmp_path / "models" / "odd.py").write_text("import no_such_module  # noqa: F401\n")
    made = replay.generate(tmp_path, tmp_path / "out")
    assert made.builds() == []
    failures = made.failures()
    assert len(failures) == len(replay.ISAS) * len(replay.DTYPES)
    assert failures["odd cuda float64"] == "0 calls of Model(...), must be 1"
    assert "No module named" in failures["odd avx2 float32"]


def test_a_dtype_is_written_into_a_models_file() -> None:
    assert replay.with_dtype("Model(name=1)", "float32") == "Model(name=1)"
    assert replay.with_dtype("Model(name=1)", "float64") == 'Model(dtype="float64", name=1)'
    assert replay.with_dtype('Model(dtype="float64")', "float32") == 'Model(dtype="float32")'
    with pytest.raises(ValueError, match="2 calls of Model"):
        replay.with_dtype("Model() Model()", "float64")


def test_every_choice_of_a_models_options_is_built() -> None:
    text = 'POOLS = OneOf("max", "avg")  # the first is the default\ndef model(pool=POOLS, epochs=10):\n'
    assert list(replay.variants(text)) == [(), ("pool=avg",)]


@pytest.mark.parametrize("words", [[], ["no-such-commit"], ["HEAD", "HEAD", "HEAD"], ["--no-such-option", "HEAD"]])
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    assert CliRunner().invoke(replay.main, words).exit_code == 2


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--strict"], 1)])
def test_only_strict_fails_where_code_differs(
    words: list[str], code: int, sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(sides[1].build(CPU) / "one.asm", "rax, 0", "rax, 9")
    monkeypatch.setattr(replay, "commit_of", lambda root, name: name)
    monkeypatch.setattr(replay, "side_of_commit", lambda *_, **settings: sides[0])
    monkeypatch.setattr(replay, "generate", lambda *_, **settings: sides[1])
    done = CliRunner().invoke(replay.main, ["base", *words])
    assert done.exit_code == code
    assert "1 differ in code" in done.output.splitlines()[-1]
