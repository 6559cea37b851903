"""Ratios, goals and the table of `asmgen bench --isa cuda` and scripts/gpu_check.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from asmgen.bench.gpu.speed import SpeedRow, ratios, speed_table, steps_of
from asmgen.cli.main import main
from asmgen.model.load import load_model

ROWS = [
    SpeedRow("catdog", "tf32", "graph", 90e-6, 95e-6),
    SpeedRow("catdog", "tf32", "asmgen", 100e-6, 110e-6),
    SpeedRow("catdog", "tf32", "eager", 300e-6, 310e-6),
    SpeedRow("catdog", "tf32", "compile", 70e-6, 80e-6),
    SpeedRow("catdog", "float32", "asmgen", 200e-6, 200e-6),
]


def test_the_smaller_ratio_counts_and_the_best_row_has_a_goal_of_its_own() -> None:
    found = {ratio.row.name: ratio for ratio in ratios(ROWS[:4])}
    assert found["eager"].by_device == pytest.approx(3)
    assert (found["eager"].goal, found["eager"].is_missed) == (2.0, False)
    assert (found["graph"].goal, found["graph"].is_missed) == (1.3, True)
    assert (found["compile"].goal, found["compile"].is_missed) == (0.75, True)
    assert ratios(ROWS[4:]) == []


def test_ours_comes_first_in_its_group() -> None:
    lines = speed_table(ROWS, "Speed").text().splitlines()[2:7]
    assert [line.split()[1:4] for line in lines] == [
        ["tf32", "asmgen", "100.0"],
        ["tf32", "PyTorch", "eager"],
        ["tf32", "PyTorch", "graph"],
        ["tf32", "PyTorch", "compile"],
        ["float32", "asmgen", "200.0"],
    ]
    assert lines[1].split()[4:] == ["300.0", "310.0", "3.00x", "2.82x", "2", "met"]


def test_at_least_200_steps_are_measured() -> None:
    for path in Path("models").glob("*.py"):
        assert steps_of(load_model(str(path), {})) >= 200


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["bench", "--threads", "2"], "--threads is of CPUs"),
        (["bench", "--isa", "avx2"], "a GPU is measured alone"),
        (["bench", "--against", "numpy"], "on a GPU there is torch, or none"),
        (["profile"], "nsys profile"),
        (["tune"], "asmgen show MODEL --isa cuda"),
    ],
)
def test_what_means_nothing_on_a_gpu_is_one_line_that_says_what_does(command: list[str], words: str) -> None:
    name, *options = command
    done = CliRunner().invoke(main, [name, "models/lenet.py", "--isa", "cuda", *options])
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
