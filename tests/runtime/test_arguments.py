"""The command line of a trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.linear import run

LIST = "; --help lists the options"


def whole(name: str, low: int, high: int, got: str) -> str:
    return f"{name} needs a whole number from {low} to {high}, got {got}"


def real(got: str) -> str:
    return f"--lr needs 0 or a number from 1e-99 to 1000000, got {got}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], f"unknown option --bogus{LIST}"),
        (["--epoch", "3"], f"unknown option --epoch{LIST}"),
        (["--epochss=3"], f"unknown option --epochss=3{LIST}"),
        (["-q"], f"unknown option -q{LIST}"),
        (["data"], f"unexpected argument data{LIST}"),
        (["--data"], f"--data needs a value{LIST}"),
        (["--save="], f"--save needs a value{LIST}"),
        (["--epochs", ""], f"--epochs needs a value{LIST}"),
        (["--eval=1"], "--eval takes no value, got --eval=1"),
        (["--epochs", "ten"], whole("--epochs", 0, 1000000, "ten")),
        (["--epochs=-1"], whole("--epochs", 0, 1000000, "-1")),
        (["--epochs", "1000001"], whole("--epochs", 0, 1000000, "1000001")),
        (["--epochs", "3x"], whole("--epochs", 0, 1000000, "3x")),
        (["--batch-limit", "0"], whole("--batch-limit", 1, 1000000000, "0")),
        (["--seed", str(2**64)], whole("--seed", 0, 2**64 - 1, str(2**64))),
        (["--seed", "99999999999999999999999"], whole("--seed", 0, 2**64 - 1, "99999999999999999999999")),
        (["--threads", "0"], whole("--threads", 1, 256, "0")),
        (["--threads", "257"], whole("--threads", 1, 256, "257")),
        *((["--lr", text], real(text)) for text in ("1000000.1", "-0.1", "nan", ".", "0x1", "1.5.2")),
        *((["--lr", text], real(text)) for text in ("1e", "1e-", "e3", "1e5e")),
        *((["--lr", text], real(text)) for text in ("1e100", "1e-5000", "1e-100", "0.99e-99")),
        *(
            ([option, "same", "--log", "same"], "--log needs a file of its own, but the checkpoint is same, too")
            for option in ("--save", "--load")
        ),
    ],
    ids=str,
)
def test_wrong(arguments: list[str], message: str, trainer: Path) -> None:
    said = run(trainer, *arguments)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"trainer: {message}\n")


def test_help(trainer: Path) -> None:
    said = run(trainer, "--help")
    assert (said.returncode, said.stderr) == (0, "")
    options = "--data --epochs --lr --seed --threads --batch-limit --save --load --eval --log --quiet --help"
    assert " ".join(line.split()[0] for line in said.stdout.splitlines() if line.startswith("  --")) == options
    for default in (
        "$ASMGEN_DATA/dots, else ./data/dots",
        "(default: 3)",
        "(default: 0.05)",
        f"(default: {2**40 + 7})",
    ):
        assert default in said.stdout
    assert run(trainer, "-h").stdout == said.stdout
    assert run(trainer, "--epochs", "ten").returncode == 2


def test_both_spellings_and_the_last_wins(trainer: Path, data: Path) -> None:
    options = ["--epochs=5", "--epochs", "2", "--threads=1", "--lr=1e-3", f"--seed={2**64 - 1}"]
    said = run(trainer, f"--data={data}", *options)
    assert said.returncode == 0
    assert [line[:9] for line in said.stdout.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize(("rate", "kept"), [("0", True), ("0e5", True), ("1e-99", True), ("1e-6", False)])
def test_a_learning_rate_of_zero_keeps_the_weights(
    rate: str, kept: bool, trainer: Path, data: Path, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    assert run(trainer, "--data", data, "--epochs", 0, "--save", before).returncode == 0
    assert run(trainer, "--data", data, "--epochs", 1, "--lr", rate, "--save", after).returncode == 0
    assert (before.read_bytes() == after.read_bytes()) == kept
