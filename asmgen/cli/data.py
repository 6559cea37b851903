"""`asmgen data`: import, fetch, synth, info."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from asmgen.cli.console import FilePath, verbosity
from asmgen.data.dataset import Progress, Reject, Summary
from asmgen.data.directory import has_idx
from asmgen.data.importer import import_folder, import_idx
from asmgen.data.info import Description, describe, write_sheet
from asmgen.data.mnist import MIRRORS, fetch_mnist
from asmgen.data.synthesis import KINDS, synth
from asmgen.errors import UsageError

_MAX_SIZE = 4096
_EXAMPLES = 3


def _size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """`128` or `96x128` (height x width) -> (height, width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", value)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= height <= _MAX_SIZE and 1 <= width <= _MAX_SIZE):
        raise click.BadParameter(f"{value!r} is not N or HEIGHTxWIDTH with sides of 1..{_MAX_SIZE}", ctx, param)
    return height, width


_PATH = FilePath(path_type=Path)
_out = click.option("-o", "--out", type=_PATH, help="Where to write.  [default: $ASMGEN_DATA/NAME, or data/NAME]")
_force = click.option("--force", is_flag=True, help="Replace the data set that is already there.")
_seed = click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
_workers = click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: one per CPU]")


@click.group("data")
def data_group() -> None:
    """Import, fetch, draw and inspect data sets."""


@data_group.command("import")
@click.argument("path", type=_PATH)
@click.option("-o", "--out", type=_PATH, required=True, help="Where to write.")
@click.option("--size", callback=_size, default="128", show_default=True, help="N, or HEIGHTxWIDTH.")
@click.option("--gray", is_flag=True, help="One channel instead of RGB.")
@click.option("--test-fraction", type=float, default=0.2, show_default=True, help="Share of each class for test.")
@_seed
@_workers
@_force
@click.pass_context
def import_command(
    ctx: click.Context,
    path: Path,
    out: Path,
    size: tuple[int, int],
    gray: bool,
    test_fraction: float,
    seed: int,
    workers: int | None,
    force: bool,
) -> None:
    """Make a data set of PATH: a folder or .zip with one folder of images per class, or a folder of IDX files.

    Files that are broken or no images are listed with the reason in OUT/rejects.json. IDX files (such as MNIST's four,
    plain or .gz) are checked and unpacked.
    """
    with _terminable():
        if has_idx(path):
            for name in ("size", "gray", "test_fraction", "seed"):
                if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                    option = f"--{name.replace('_', '-')}"
                    raise UsageError(f"{option} is for images; {path} holds IDX files, which are taken as they are")
            _report(import_idx(path, out, replace=force))
            return
        with _bar("images") as progress:
            summary = import_folder(
                path,
                out,
                size=size,
                gray=gray,
                test_fraction=test_fraction,
                seed=seed,
                workers=workers,
                replace=force,
                progress=progress,
            )
    _report(summary)


@data_group.command("fetch")
@click.argument("name", type=click.Choice(["mnist"]))
@_out
@click.option("--mirror", "mirrors", metavar="URL", multiple=True, help=f"Repeatable.  [default: {' '.join(MIRRORS)}]")
@_force
def fetch_command(name: str, out: Path | None, mirrors: tuple[str, ...], force: bool) -> None:
    """Download a public data set, check it (SHA-256) and unpack it."""
    with _terminable(), _bar("bytes") as progress:
        summary = fetch_mnist(out or _default(name), mirrors=mirrors or MIRRORS, replace=force, progress=progress)
    _report(summary)


@data_group.command("synth")
@click.argument("kind", type=click.Choice(list(KINDS)))
@_out
@click.option("--count", type=int, help="Pictures, train and test together.  [default: 2000 catdog, 70000 digits]")
@click.option("--size", type=int, help="Pixels a side.  [default: 128 catdog, 28 digits]")
@click.option("--test-fraction", type=float, help="Share of each class for test.  [default: 1/5 catdog, 1/7 digits]")
@_seed
@_workers
@_force
def synth_command(
    kind: str,
    out: Path | None,
    count: int | None,
    size: int | None,
    test_fraction: float | None,
    seed: int,
    workers: int | None,
    force: bool,
) -> None:
    """Draw a data set: cats and dogs in colour, or digits under MNIST's file names."""
    with _terminable(), _bar("pictures") as progress:
        summary = synth(
            kind,
            out or _default(kind),
            count=count,
            size=size,
            test_fraction=test_fraction,
            seed=seed,
            workers=workers,
            replace=force,
            progress=progress,
        )
    _report(summary)


@data_group.command("info")
@click.argument("path", type=_PATH)
@click.option("--sheet", type=_PATH, help="Also write a PNG with ten samples of each class.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def info_command(path: Path, sheet: Path | None, as_json: bool) -> None:
    """Check a data set directory and tell its files, shapes, classes and channel statistics."""
    description = describe(path)
    if sheet:
        write_sheet(path, sheet)
    if as_json:
        click.echo(json.dumps(asdict(description), indent=1))
    else:
        click.echo("\n".join(_tables(description)))


def _default(name: str) -> Path:
    return Path(os.environ.get("ASMGEN_DATA") or "data") / name


def _report(summary: Summary) -> None:
    shape = "x".join(map(str, summary.shape))
    click.echo(f"{sum(summary.train)} train and {sum(summary.test)} test samples of {shape} in {_plain(summary.path)}")
    rows = zip(summary.classes, summary.train, summary.test, strict=True)
    counts = [f"{_plain(name)} {train}+{test}" for name, train, test in rows]
    click.echo(f"{len(counts)} classes (train+test): {', '.join(counts)}")
    if summary.rejects:
        click.echo(f"{len(summary.rejects)} files rejected, see {_plain(summary.path / 'rejects.json')}:")
        for line in _grouped(summary.rejects):
            click.echo(f"  {line}")


def _grouped(rejects: tuple[Reject, ...]) -> Iterator[str]:
    """One line per sort of reason (what stands before the details), commonest first, with a few of the files."""
    sorts = Counter(_sort(reject) for reject in rejects)
    for sort, count in sorts.most_common():
        paths = [_plain(reject.path) for reject in rejects if _sort(reject) == sort]
        more = ", ..." if count > _EXAMPLES else ""
        yield f"{count} {sort}: {', '.join(paths[:_EXAMPLES])}{more}"


def _sort(reject: Reject) -> str:
    return re.split(r"[:(]", reject.reason)[0].strip()


def _plain(name: str | Path) -> str:
    """A file name that any terminal can print."""
    return click.format_filename(str(name))


def _tables(description: Description) -> Iterator[str]:
    yield from _table(
        [("file", "shape", "bytes")]
        + [(file.name, "x".join(map(str, file.shape)), str(file.bytes)) for file in description.files]
    )
    yield ""
    splits = list(description.counts)
    rows = [
        (_plain(name), *(str(description.counts[split][label]) for split in splits))
        for label, name in enumerate(description.classes)
    ]
    yield from _table([("class", *splits), *rows, ("total", *(str(sum(description.counts[s])) for s in splits))])
    yield ""
    channels = zip(description.mean, description.std, strict=True)
    yield from _table(
        [("channel", "mean", "std")] + [(str(i), f"{mean:.4f}", f"{std:.4f}") for i, (mean, std) in enumerate(channels)]
    )
    yield "(of train's pixels / 255)"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """First column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        yield "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])


@contextmanager
def _bar(what: str) -> Iterator[Progress | None]:
    """A progress bar on stderr where a person watches, else nothing."""
    if not sys.stderr.isatty() or verbosity() < 0:
        yield None
        return
    with click.progressbar(length=1, label=what, file=sys.stderr, show_pos=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so half-written files go away."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
