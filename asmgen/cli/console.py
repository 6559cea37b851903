"""What the commands share: how much they say, and where; what every path must be."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from asmgen.errors import UsageError

DEBUG_LEVELS = ("0", "1", "2", "3", "4", "5")
_ERASE = "\r\x1b[K"  # the line


class FilePath(click.Path):
    """A path that is not empty: `-o "$OUT"` without an OUT must not mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def debug_level() -> int:
    """ASMGEN_DEBUG as a number, 0 where it is not set. Raises UsageError where it is neither."""
    value = os.environ.get("ASMGEN_DEBUG") or "0"
    if value not in DEBUG_LEVELS:
        raise UsageError(
            f"ASMGEN_DEBUG={value}: give 0 (off), 1 (the plan), 2 (the kernels, too), 3 (the memory map), "
            "4 (the assembly) or 5 (NASM's listings)"
        )
    return int(value)


def verbosity() -> int:
    """-1 for `asmgen -q`, 0 by default, 1 and up for each -v. Usable in any command."""
    context = click.get_current_context(silent=True)
    level = context.find_root().obj if context else None
    return level if isinstance(level, int) else 0


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Takes what is being done now: on a terminal one line, written over and gone at the end; with -v a line each."""
    watched = verbosity() == 0 and sys.stderr.isatty()

    def show(text: str) -> None:
        if watched:
            click.echo(f"{_ERASE}{text[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)
        else:
            say(text, level=1)

    try:
        yield show
    finally:
        if watched:
            click.echo(_ERASE, nl=False, err=True)


def say(text: str, *, level: int = 0) -> None:
    """Progress and remarks, on stderr, if the user asked for this much. A command's result goes to click.echo."""
    if verbosity() >= level:
        click.echo(text, err=True)
