"""Fixtures that every test may use, and a summary of what this machine could not test."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: pytest-xdist has a worker on every core

import signal
from collections import Counter
from pathlib import Path

import pytest

from asmgen.toolchain import cpu

# Started behind `&`, tests inherit an ignored SIGINT, and so would the programs that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def lacks(isa: str) -> str:
    """Why code of this level cannot run here; empty if it can."""
    missing = cpu.missing_features(isa, cpu.cpu_features())
    return f"this CPU cannot run {isa}: it lacks {', '.join(missing)}" if missing else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew (read the difference)")
    parser.addoption("--update-shares", action="store_true", help="measure tests/bench/shares.json anew")
    parser.addoption("--networks", metavar="N|A:B", help="seeds of tests/graph/test_random_networks.py: 0 to N - 1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("isa"):
        if reason := lacks(marker.args[0]):
            pytest.skip(reason)


@pytest.fixture(params=list(cpu.FEATURES))
def isa(request: pytest.FixtureRequest) -> str:
    """Every level in turn; those that this CPU cannot run are skipped."""
    if reason := lacks(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets: $ASMGEN_REAL_DATA, or ../shared/data beside the repository.

    It holds `mnist/*-ubyte.gz` and `PetImages.zip`; git carries neither.
    """
    folder = Path(os.environ.get("ASMGEN_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data sets at {folder}; ASMGEN_REAL_DATA names their folder")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per reason, so that nobody takes a skipped level for a tested one."""
    levels = ", ".join(f"{isa} {'skipped' if lacks(isa) else 'tested'}" for isa in cpu.FEATURES)
    terminalreporter.write_line(f"levels: {levels}  ({cpu.cpu_model()})")
    skipped = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(skipped.items()):
        terminalreporter.write_line(f"not tested here: {count} x {reason.removeprefix('Skipped: ')}")
