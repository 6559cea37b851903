"""By default, small steps get few threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from asmgen.asm.isa import ISAS
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.emit.threads import MAX_THREADS, useful_threads
from asmgen.model.load import load_model

MODELS = Path(__file__).resolve().parent.parent.parent / "models"


@pytest.mark.parametrize(
    ("name", "isa", "settings", "least", "most"),
    [
        ("mnist_sigmoid", "avx512", {"batch": "1"}, 1, 1),
        ("mnist_sigmoid", "avx512", {}, 1, 1),
        ("mnist_sigmoid", "sse41", {}, 2, 16),
        ("mnist_mlp", "avx512", {}, 4, 64),
        ("catdog", "sse41", {}, MAX_THREADS, MAX_THREADS),
    ],
)
def test_useful_threads(name: str, isa: str, settings: dict[str, str], least: int, most: int) -> None:
    level = ISAS[isa]
    plan = plan_for(load_model(MODELS / f"{name}.py", settings), level)
    assert least <= useful_threads(plan, level, emit_plan(plan, level)) <= most
