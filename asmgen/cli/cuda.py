"""`--isa cuda`: its options, and the build of its trainers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from asmgen.cli.console import debug_level, say
from asmgen.cli.options import CUDA_NAME, parse_settings
from asmgen.cuda.precision import PRECISIONS
from asmgen.errors import UsageError
from asmgen.model.network import Model
from asmgen.toolchain.nvcc import DEFAULT_ARCHES, parse_arches
from asmgen.toolchain.stamp import building, digest, finish, is_current, stamp_file


@dataclass(frozen=True)
class CudaOptions:
    """What may be asked of a CUDA trainer. arches: GPUs to compile for; emulated: for a CPU, by g++."""

    arches: tuple[str, ...] = DEFAULT_ARCHES
    precision: str = PRECISIONS[0]
    emulated: bool = False

    @property
    def trainer(self) -> str:
        return "trainer-emulated" if self.emulated else "trainer"


def cuda_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--arch, --precision and --emulate."""
    for option in (
        click.option("--emulate", is_flag=True, help="cuda: trainer-emulated, for a CPU; for tests, it is very slow."),
        precision_option,
        arch_option,
    ):
        command = option(command)
    return command


def arch_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--arch."""
    return click.option(
        "--arch",
        "arch",
        metavar="LIST",
        help=f"cuda: GPUs to compile for; later ones compile PTX at start.  [default: {','.join(DEFAULT_ARCHES)}]",
    )(command)


def precision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--precision."""
    return click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="cuda: of products in convolutions and dense layers of float32 models; tf32 is faster, and coarser.  "
        f"[default: {PRECISIONS[0]}]",
    )(command)


def cuda_choice(
    isa_names: tuple[str, ...], arch: str | None = None, precision: str | None = None, emulate: bool = False
) -> CudaOptions:
    """The options as given. Raises UsageError where they mean nothing, because no target is cuda."""
    given = [name for name, value in (("--arch", arch), ("--precision", precision), ("--emulate", emulate)) if value]
    if given and CUDA_NAME not in isa_names:
        raise UsageError(f"{given[0]} is an option of --isa cuda, but --isa is {', '.join(isa_names)}")
    arches = DEFAULT_ARCHES if arch is None else parse_arches(arch)
    return CudaOptions(arches, precision or PRECISIONS[0], emulate)


def build_cuda_if_stale(
    model: Model, model_path: str, settings: tuple[str, ...], options: CudaOptions, out: Path
) -> Path:
    """The path of the CUDA trainer, built unless nothing changed since it was."""
    folder = out / model.name / CUDA_NAME
    key = digest(model, Path(model_path), parse_settings(settings), f"{CUDA_NAME} {options}")
    trainer = folder / options.trainer
    with building(folder, lambda: say(f"{folder}: another build writes there; waiting for it")):
        if is_current(trainer, key) and debug_level() == 0:
            say(f"{folder}: nothing changed", level=1)
            return trainer
        from asmgen.cli.debug import print_cuda
        from asmgen.emit.cuda import generate_cuda
        from asmgen.toolchain.cuda_build import build_cuda_trainer, build_emulated_trainer

        started = time.perf_counter()
        stamp_file(trainer).unlink(missing_ok=True)
        generated = generate_cuda(model, options.precision, out, options.arches)
        if options.emulated:
            build_emulated_trainer(folder)
        else:
            build_cuda_trainer(folder, options.arches)
        finish(trainer, key)
    print_cuda(generated, debug_level())
    seconds = time.perf_counter() - started
    arena = generated.plan.arena_bytes / 1e6
    target = "an emulated GPU" if options.emulated else ", ".join(options.arches)
    say(f"{model.name} for {target}: {len(generated.listings)} kernels, arena {arena:.1f} MB, {seconds:.1f} s")
    return trainer
