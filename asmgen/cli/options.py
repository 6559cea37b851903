"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from asmgen.asm.isa import ISAS, Isa
from asmgen.cli.console import FilePath
from asmgen.errors import IsaError, UsageError
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.paths import GENERATED_DIR
from asmgen.toolchain.cpu import best_isa, cpu_features

MODEL = click.argument("model_path", metavar="MODEL", type=FilePath(dir_okay=False, path_type=str))
ISA_NAMES = (*ISAS, "native")
CUDA_NAME = "cuda"


class IsaChoice(click.Choice):  # type: ignore[type-arg]  # generic only since click 8.2
    """Names of levels; instead_of_cuda: what to do for a GPU where this command has no `cuda`."""

    def __init__(self, names: tuple[str, ...], instead_of_cuda: str | None) -> None:
        super().__init__(names)
        self._instead = instead_of_cuda

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == CUDA_NAME and self._instead:
            raise UsageError(f"--isa {CUDA_NAME}: {self._instead}")
        return str(super().convert(value, param, ctx))


def isa_option(*, cuda: bool = False, instead_of_cuda: str | None = None, **kwargs: Any) -> Callable[[Any], Any]:
    """--isa, repeatable where multiple=True; cuda: the command knows what to do for a GPU, too, or says what does."""
    kwargs.setdefault("default", ("native",) if kwargs.get("multiple") else "native")
    return click.option(
        "--isa",
        "isa_names" if kwargs.get("multiple") else "isa_name",
        type=IsaChoice((*ISA_NAMES, CUDA_NAME) if cuda else ISA_NAMES, instead_of_cuda),
        show_default="native, the best this CPU has",
        help=f"Instruction set level{', or cuda' * cuda}." + (" Repeatable." if kwargs.get("multiple") else ""),
        **kwargs,
    )


SET = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Set an option of the model's function."
)
OUT = click.option(
    "--out",
    type=FilePath(file_okay=False, path_type=Path),
    default=None,
    help="Folder that <model>/<isa>/ is made in.  [default: generated/]",
)


def resolve_isa(name: str) -> Isa:
    """The level of this name; "native" is the best of this CPU."""
    return ISAS[best_isa() if name == "native" else name]


def require_cpu(isa: Isa) -> None:
    """Raise IsaError unless this CPU has the level."""
    missing = [feature for feature in isa.cpu_features if feature not in cpu_features()]
    if missing:
        raise IsaError(f"this CPU lacks {', '.join(missing)}, which {isa.name} needs; use --isa {best_isa()}")


def resolve_out(out: Path | None) -> Path:
    return out if out is not None else GENERATED_DIR


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """--set KEY=VALUE options as a dictionary."""
    options: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {setting}: write KEY=VALUE, such as --set epochs=3")
        if key in options:
            raise UsageError(f"--set {key}: given twice, as {options[key]} and {value}; keep one")
        options[key] = value
    return options


def load(model_path: str, settings: tuple[str, ...]) -> Model:
    """The model of a command line: MODEL and its --set options."""
    return load_model(model_path, parse_settings(settings))
