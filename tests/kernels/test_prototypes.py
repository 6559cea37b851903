"""The prototypes in kernels' headers are C: a program that takes them as they stand gets what the reference has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.asm.listing import POINTER_REGISTERS, Listing
from asmgen.harness.cases.build import build_cases
from asmgen.harness.cases.case import Case
from asmgen.kernels.registry import emit_kernel
from asmgen.plan import specs
from asmgen.plan.layout import DenseWeights, Image, Rows
from asmgen.plan.specs import Activation, KernelSpec, Pool
from asmgen.toolchain.nasm import Source, assemble_all
from tests.kernels.support import every_spec

_HEAD = """#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *at(const char *path, size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    FILE *file = fopen(path, "rb");
    if (!memory || !file || fread(memory, 1, size, file) != size) exit(1);
    fclose(file);
    return memory;
}
"""


def prototype(text: str) -> str:
    """The declaration that a generated file's header holds, of one line or several."""
    (found,) = re.findall(r"^; (void [^;]*(?:\n; +[^;]*)?\);)\s(?:; )? *SysV AMD64", text, re.MULTILINE)
    return " ".join(str(found).replace("\n;", "\n").split())


def parameters(declaration: str) -> list[str]:
    """Their names."""
    return [parameter.split()[-1].lstrip("*") for parameter in declaration[:-2].split("(")[1].split(", ")]


def program(declaration: str, case: Case, units: int) -> str:
    """Calls the kernel by its declaration: each operand, read from a file of its name, where the prototype names it."""
    symbol = declaration.split("(")[0].removeprefix("void ")
    operands = {operand.name: operand for operand in case.operands if operand}
    lines, passed = [], []
    for name in parameters(declaration):
        if name in operands:
            ctype = declaration.partition(f" *{name}")[0].replace("(", ", ").split(", ")[-1]
            lines.append(f'    {ctype} *{name} = at("{name}", {operands.pop(name).before.nbytes});')
            passed.append(name)
        else:
            passed.append({"begin": "0", "end": str(units)}.get(name, "NULL"))
    assert not operands, f"{declaration} does not name {', '.join(operands)}"
    lines.append(f"    {symbol}({', '.join(passed)});")
    for expected in case.expected:
        out = case.operands[expected.operand]
        assert out is not None
        lines.append(f"    if (fwrite({out.name}, 1, {out.before.nbytes}, stdout) != {out.before.nbytes}) return 1;")
    return f"{_HEAD}\n{declaration}\n\nint main(void)\n{{\n" + "\n".join(lines) + "\n    return 0;\n}\n"


def outputs(listing: Listing, case: Case, units: int, folder: Path) -> bytes:
    """What the kernel writes to the case's outputs when gcc's program calls it."""
    for operand in case.operands:
        if operand:
            (folder / operand.name).write_bytes(operand.before.tobytes())
    (folder / "call.c").write_text(program(prototype(listing.text()), case, units))
    source = Source(folder / "kernel.asm", folder / "kernel.o")
    source.asm.write_text(listing.text())
    assemble_all([source])
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "call.c", "kernel.o", "-o", "call"]
    subprocess.run(command, cwd=folder, check=True)
    return subprocess.run(["./call"], cwd=folder, check=True, capture_output=True).stdout


def called(lanes: int) -> dict[str, KernelSpec]:
    """Kernels that skip registers: update_sgd has no state in rdx; pools without codes and dense layers no rcx."""
    x, f32 = Rows(3, 21, lanes, "float32"), "float32"
    image, half = (Image(2, lanes + 1, side, side, lanes, f32) for side in (6, 3))
    act = Activation("relu")
    return {
        "update_sgd": specs.Update("sgd", f32, lanes, 5),
        "dense_fwd": specs.DenseForward(x, DenseWeights(5, x, lanes, f32), Rows(3, 5, lanes, f32), True, act),
        "pool_fwd": specs.PoolForward(image, half, Pool("avg", 2, 2, 2, 2)),
        "act_bwd": specs.ActBackward(x, x, x, act),
    }


@pytest.mark.parametrize("op", called(4))
def test_a_c_program_calls_kernels_by_their_prototypes(isa: str, op: str, tmp_path: Path) -> None:
    spec = called(ISAS[isa].lanes("float32"))[op]
    (case,) = build_cases(spec, "integers", 0)[:1]
    memory = outputs(emit_kernel(spec, ISAS[isa]), case, spec.slice_units(), tmp_path)
    for expected in case.expected:
        operand = case.operands[expected.operand]
        assert operand is not None
        got, memory = memory[: operand.before.nbytes], memory[operand.before.nbytes :]
        value: Any = expected.unpack(np.frombuffer(got, operand.before.dtype))
        assert np.all(np.abs(value - expected.value) <= expected.bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_prototype_is_valid_and_in_the_order_of_the_registers(dtype: str, tmp_path: Path) -> None:
    declarations = []
    for spec in every_spec("avx2", dtype):
        listing = emit_kernel(spec, ISAS["avx2"])
        declarations.append(prototype(listing.text()))
        named = parameters(declarations[-1])
        assert named[4:] == ["begin", "end"]
        for argument in listing.facts.arguments:
            assert named[POINTER_REGISTERS.index(argument.register)] == argument.name
    source = "#include <stddef.h>\n#include <stdint.h>\n" + "\n".join(declarations) + "\n"
    (tmp_path / "all.h").write_text(source)
    subprocess.run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", tmp_path / "all.h"], check=True)
