"""Generated assembly is worth reading: lines fit, and what only a reader of the emitter would know is beside it."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from asmgen.asm.isa import ISAS
from asmgen.asm.listing import MAX_COLUMNS
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model
from tests.kernels.test_golden import GOLDEN

MODEL = Path(__file__).parents[2] / "models" / "catdog.py"  # has Winograd's, sparse and pooled kernels
MOVE = re.compile(r" +(add|sub) [^,]+, -?\d+ *(;.*)?")
FRAME = re.compile(r" +(add|sub) rsp, ")
STORE = re.compile(r" +v?(mov|pextr|pmov)\w* (\w+ )?\[(?!rsp)")
SUM = re.compile(r" +v?(add|sub)[ps][sd] ")
STEP = re.compile(r" +v?(add|sub|div|fn?m(add|sub)\d*)[ps][sd] ")
LEAST_SHARE = 0.85  # of sums and differences; a product with two that SSE needs has none
JUMP = re.compile(r" +jnz ")


@cache
def texts(isa: str) -> dict[str, str]:
    """The goldens and the model's kernels of a level, by name."""
    level = ISAS[isa]
    kernels = {symbol: kernel.text() for symbol, kernel in emit_plan(plan_for(load_model(MODEL), level), level).items()}
    return kernels | {path.stem: path.read_text() for path in GOLDEN.glob(f"*_{isa}.asm")}


@pytest.mark.parametrize("isa", ISAS)
def test_moves_by_a_number_say_where_to(isa: str) -> None:
    """Counters of loops, before their jump, have the loop's name; the frame has the prologue's notes."""
    bare = []
    for name, text in texts(isa).items():
        lines = text.split("\n")
        for line, following in pairwise(lines):
            if MOVE.fullmatch(line) and ";" not in line and not FRAME.match(line) and not JUMP.match(following):
                bare.append(f"{name}: {line}")
    assert not bare


@pytest.mark.parametrize("isa", ISAS)
def test_lines_fit(isa: str) -> None:
    for name, text in texts(isa).items():
        long = [line for line in text.split("\n") if len(line) > MAX_COLUMNS]
        assert not long, name


@pytest.mark.parametrize("isa", ISAS)
def test_winograd_says_what_it_stores_and_computes(isa: str) -> None:
    """Every store but those of the frame has a note, and so have most sums and differences."""
    kernels = {name: text for name, text in texts(isa).items() if "winograd" in name}
    assert any("_fwd_" in name for name in kernels)
    assert any("_weights_" in name for name in kernels)
    for name, text in kernels.items():
        lines = text.split("\n")
        stores = [line for line in lines if STORE.match(line)]
        assert stores
        assert not [f"{name}: {line}" for line in stores if ";" not in line]
        sums = [line for line in lines if SUM.match(line)]
        assert sum(";" in line for line in sums) >= LEAST_SHARE * len(sums), name
        assert "Lavin and Gray (2016)" in text
        assert "_weights_" in name or "; registers, output transform" in text
        assert all(f"{matrix} = [" in text for matrix in ("B^T", "G", "A^T"))


@pytest.mark.parametrize("isa", ISAS)
def test_functions_are_explained_once_and_by_step(isa: str) -> None:
    """The loss has exp and log: where their polynomials come from, and what each step makes."""
    (text,) = (text for name, text in texts(isa).items() if name.startswith("loss_bce_n"))
    for opening in (
        "    ; ln 2 = ln2_high + ln2_low",
        "    ; e^r = 1 + r + r^2 E(r)",
        "    ; L is a polynomial of degree",
    ):
        assert text.count(opening) == 1
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if "E(r) by Horner's scheme" in line)
    steps = [line for line in lines[first:] if STEP.match(line)][:20]
    assert sum(";" in line for line in steps) >= LEAST_SHARE * len(steps)
