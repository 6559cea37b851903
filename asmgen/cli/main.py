"""The `asmgen` command: finds subcommands on demand and turns every error into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from asmgen.cli.console import DEBUG_LEVELS, debug_level
from asmgen.errors import AsmgenError
from asmgen.version import __version__

#: Command -> (module, attribute, line of help). Importing a module only when its command runs keeps `--help` instant
#: and lets `doctor` work where NumPy or PeachPy is missing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "build": ("asmgen.cli.build", "build", "Generate, assemble and link the trainer of a model."),
    "show": ("asmgen.cli.show", "show", "List the kernels of a model, or print one."),
    "verify": ("asmgen.cli.verify", "verify", "Compare kernels and training steps with the float64 reference."),
    "bench": ("asmgen.cli.bench", "bench", "Measure a model's speed, side by side with others."),
    "profile": ("asmgen.cli.profile", "profile", "Tell where a training run spends its cycles."),
    "tune": ("asmgen.cli.tune", "tune", "Time the best tiles on this CPU and keep the fastest."),
    "train": ("asmgen.cli.train", "train", "Build if stale, then train."),
    "data": ("asmgen.cli.data", "data_group", "Import, fetch, draw and inspect data sets."),
    "doctor": ("asmgen.cli.doctor", "doctor", "Tell what works on this machine, and how to get the rest."),
}

INTERRUPTED = 130
_STDOUT, _STDERR = 1, 2  # descriptors
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)  # of a write, which knows no file's name


class LazyGroup(click.Group):
    """A click group over COMMANDS. `main` is overridden so that a test runner meets the errors that a shell does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            _occupy_standard_descriptors()
            result = super().main(args, prog_name or "asmgen", complete_var, standalone_mode=False, **extra)
        except Exception as error:
            sys.exit(_report(error))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)


def _occupy_standard_descriptors() -> None:
    """Standard output that is closed (`>&-`) fails like a full disk, and no file we open takes its number."""
    while (null := os.open(os.devnull, os.O_RDONLY)) <= _STDERR:
        os.set_inheritable(null, True)
    os.close(null)
    if sys.__stdout__ is None:
        sys.stdout = os.fdopen(_STDOUT, "w", closefd=False)


def _report(error: Exception) -> int:
    """Print the one line that `error` deserves on stderr; return the exit code."""
    if isinstance(error, click.exceptions.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # `asmgen` alone: its message is the help
        click.echo(error.format_message())
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name:
        from asmgen.toolchain.tools import missing_module_error

        error = missing_module_error(error.name) or error
    if os.environ.get("ASMGEN_DEBUG") in DEBUG_LEVELS[1:]:
        traceback.print_exception(error)
    if _is_of_printing(error):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # what Python still holds would fail once more as it ends
    message, exit_code = _describe(error)
    click.echo(f"asmgen: error: {' '.join(message.split())}", err=True)
    return exit_code


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, AsmgenError):
        return str(error), error.exit_code
    if isinstance(error, click.UsageError):
        hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return error.format_message().rstrip(".") + hint, error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", 1
    if isinstance(error, OSError) and _is_of_printing(error):
        return f"cannot write to standard output: {error.strerror}", 1
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"cannot write: {error.strerror}; what is half-written is made anew by the next run", 1
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return f"internal error at {place}: {type(error).__name__}: {error}; ASMGEN_DEBUG=1 shows where it came from", 1


def _is_of_printing(error: Exception) -> bool:
    """Whether it is standard output that failed. (`| head` is not among it: click ends the command in silence.)"""
    if not isinstance(error, OSError):
        return False
    return any(frame.f_code is click.echo.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="asmgen", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Say more; twice for still more.")
@click.option("-q", "--quiet", is_flag=True, help="Say only results and errors.")
@click.pass_context
def main(ctx: click.Context, verbose: int, quiet: bool) -> None:
    """Turn a neural network described in a Python file into one static executable that trains it.

    \b
    asmgen build models/catdog.py --isa native
    generated/catdog/avx512/trainer --data data/catdog

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 this CPU lacks the instruction set, 130 interrupted.
    """
    ctx.obj = -1 if quiet else verbose
    debug_level()  # a wrong one is refused before any work


if __name__ == "__main__":
    main()
