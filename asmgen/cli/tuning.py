"""--tune and --no-tune: which tune file the commands that emit kernels read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asmgen.asm.isa import Isa
from asmgen.cli.console import FilePath, say
from asmgen.errors import UsageError
from asmgen.model.network import Model

if TYPE_CHECKING:
    from asmgen.emit.tuning import Tuning

SUFFIX = ".tune.json"


@dataclass(frozen=True)
class TuneFile:
    """named: by --tune; None: the one beside the model. off: --no-tune."""

    named: Path | None = None
    off: bool = False

    def path(self, model_path: str) -> Path | None:
        """The file to read; None: there is none."""
        beside = beside_model(model_path)
        if self.off:
            return None
        return self.named or (beside if beside.exists() else None)

    def read(self, model: Model, model_path: str, isa: Isa) -> Tuning:
        """The choices for a model and an ISA, checked, with a line that says so. Raises UsageError."""
        from asmgen.emit.planning import plan_for
        from asmgen.emit.tuning import UNTUNED, read_tuning

        path = self.path(model_path)
        tuning = read_tuning(path, model.name, isa) if path else UNTUNED
        if not tuning.file:
            return UNTUNED
        plan = plan_for(model, isa, tuning)
        for spec in plan.specs():
            tuning.tile(spec, isa)
        unused = tuning.unused(plan)
        used = len(tuning.tiles) + len(tuning.algorithms) - len(unused)
        note = f"; not used, since no kernel has such a shape: {', '.join(unused)}" if unused else ""
        say(f"{path}: {used} choice{'s' * (used != 1)} for {isa.name}, measured on {tuning.cpu}{note}")
        return tuning

    def words(self) -> list[str]:
        """The options of a command line."""
        return ["--no-tune"] if self.off else ["--tune", str(self.named)] if self.named else []


def beside_model(model_path: str) -> Path:
    """`models/catdog.py` -> `models/catdog.tune.json`."""
    return Path(model_path).with_suffix(SUFFIX)


def tune_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--tune FILE and --no-tune, handed to the command as `tune`, a TuneFile."""

    @click.option(
        "--tune",
        "tune_file",
        metavar="FILE",
        type=FilePath(exists=True, dir_okay=False, path_type=Path),
        help=f"Choices that `asmgen tune` measured.  [default: MODEL's {SUFFIX}, if it is there]",
        show_default=False,
    )
    @click.option("--no-tune", is_flag=True, help="Let the cost model choose.")
    @functools.wraps(command)
    def wrapper(*args: Any, tune_file: Path | None, no_tune: bool, **kwargs: Any) -> Any:
        if tune_file and no_tune:
            raise UsageError(f"--tune {tune_file} and --no-tune: give one of them")
        return command(*args, tune=TuneFile(tune_file, no_tune), **kwargs)

    return wrapper
