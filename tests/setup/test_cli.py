"""The `asmgen` command itself: help, exit codes, one line an error."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from asmgen.cli import doctor
from asmgen.cli.console import say
from asmgen.cli.main import COMMANDS, main
from asmgen.errors import AsmgenError, IsaError, UsageError
from asmgen.toolchain.tools import TOOLS, Tool, find_program, missing_module_error
from asmgen.version import __version__


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """`asmgen show` raises what the test puts here under "error"."""
    raises: dict[str, BaseException] = {}

    @click.command()
    def show() -> None:
        say("verbose remark", level=1)
        say("plain remark")
        if "error" in raises:
            raise raises["error"]

    monkeypatch.setattr("asmgen.cli.doctor.show", show, raising=False)
    monkeypatch.setitem(COMMANDS, "show", ("asmgen.cli.doctor", "show", ""))
    monkeypatch.delenv("ASMGEN_DEBUG", raising=False)
    return raises


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(name: str) -> None:
    module, attribute, _ = COMMANDS[name]
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
    assert run(name, "-h").exit_code == 0


def test_help_and_version_import_no_stage() -> None:
    """`--help` must answer at once, and `doctor` must work where NumPy and PeachPy are missing."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['numpy', 'jinja2', 'peachpy', 'PIL']));"
        "from asmgen.cli.main import main; main(sys.argv[1:])"
    )
    assert "Commands:" in subprocess.run([sys.executable, "-c", code, "-h"], capture_output=True, text=True).stdout
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no kernel can be generated" in done.stdout


def test_version() -> None:
    assert run("--version").output == f"asmgen {__version__}\n"


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (AsmgenError("m.py:3: no\n  good"), 1, "asmgen: error: m.py:3: no good\n"),
        (UsageError("no such key"), 2, "asmgen: error: no such key\n"),
        (IsaError("lacks avx2"), 3, "asmgen: error: lacks avx2\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.py"),
            1,
            "asmgen: error: a.py: No such file or directory\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_one_line_and_an_exit_code(
    failing: dict[str, BaseException], error: BaseException, exit_code: int, line: str
) -> None:
    failing["error"] = error
    done = run("-q", "show")
    assert (done.exit_code, done.stderr.lstrip("\n")) == (exit_code, line)


def test_bug_names_its_place_and_the_way_to_the_traceback(
    failing: dict[str, BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing["error"] = ZeroDivisionError("oops")
    done = run("-q", "show")
    assert done.exit_code == 1
    assert done.stderr.startswith("asmgen: error: internal error at test_cli.py:")
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv("ASMGEN_DEBUG", "1")
    assert "Traceback" in run("show").stderr


@pytest.mark.parametrize("level", ["6", "-1", "on", " "])
def test_a_wrong_debug_level_is_one_line(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setenv("ASMGEN_DEBUG", level)
    done = run("doctor")
    assert done.exit_code == 2
    assert done.output.startswith("asmgen: error: ASMGEN_DEBUG=")
    assert ": give 0 (off), 1 (the plan), 2 (the kernels, too), " in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("args", ["--version", "doctor --json"])
@pytest.mark.parametrize(
    ("redirection", "exit_code", "said"),
    [
        (">&-", 1, "asmgen: error: cannot write to standard output: Bad file descriptor\n"),
        ("<&- >&-", 1, "asmgen: error: cannot write to standard output: Bad file descriptor\n"),
        (">/dev/full", 1, "asmgen: error: cannot write to standard output: No space left on device\n"),
        ("| true", 1, ""),
        (">&- 2>&-", 1, ""),
    ],
)
def test_output_that_cannot_be_written(args: str, redirection: str, exit_code: int, said: str) -> None:
    """It tells, once; only where the reader of a pipe left, there is nothing to tell."""
    command = f"{sys.executable} -m asmgen.cli.main {args} {redirection}"
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # set, it would hide what is left in the buffer
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, done.stderr) == (exit_code, said)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("trian",), "No such command 'trian'"),
        (("doctor", "--jsn"), "No such option"),
        (("doctor", "extra"), "unexpected extra argument"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    done = run(*args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "--help" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "said"), [((), "plain remark\n"), (("-v",), "verbose remark\nplain remark\n"), (("-q",), "")]
)
def test_verbosity(failing: dict[str, BaseException], flag: tuple[str, ...], said: str) -> None:
    assert run(*flag, "show").stderr == said


def test_doctor_json() -> None:
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["can_build"] == (done.exit_code == 0)
    assert set(report["isa"]) == {"sse41", "avx2", "avx512"}
    assert set(report["tools"]) == {tool.name for tool in TOOLS}
    assert report["cores"]["affinity"] >= 1


@pytest.mark.parametrize(("needed", "exit_code"), [(True, 1), (False, 0)])
def test_doctor_says_what_a_missing_tool_costs(monkeypatch: pytest.MonkeyPatch, needed: bool, exit_code: int) -> None:
    missing = Tool("frobnicator", lambda: None, "nothing frobs", "apt-get install frob", needed_to_build=needed)
    monkeypatch.setattr(doctor, "TOOLS", (missing,))
    done = run("doctor")
    assert done.exit_code == exit_code
    assert "frobnicator  nothing frobs\n" in done.stdout
    assert "install it: apt-get install frob\n" in done.stdout


def test_missing_program_and_module_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        AsmgenError, match="nasm is missing: nothing can be assembled; install it: .*apt-get install nasm"
    ):
        find_program("nasm")
    assert "apt-get install python3-peachpy" in str(missing_module_error("peachpy.x86_64"))
    assert missing_module_error("somebody_elses") is None
