"""What the commands share: how much they say, and where."""

from __future__ import annotations

import click


def verbosity() -> int:
    """-1 for `asmgen -q`, 0 by default, 1 and up for each -v. Usable in any command."""
    context = click.get_current_context(silent=True)
    level = context.find_root().obj if context else None
    return level if isinstance(level, int) else 0


def say(text: str, *, level: int = 0) -> None:
    """Progress and remarks, on stderr, if the user asked for this much. A command's result goes to click.echo."""
    if verbosity() >= level:
        click.echo(text, err=True)
