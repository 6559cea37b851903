"""`asmgen build`: a model file becomes assembly and a trainer."""

from __future__ import annotations

import time
from pathlib import Path

import click

from asmgen.asm.isa import Isa
from asmgen.cli.console import debug_level, say
from asmgen.cli.cuda import CudaOptions, build_cuda_if_stale, cuda_choice, cuda_options
from asmgen.cli.options import CUDA_NAME, MODEL, OUT, SET, isa_option, load, parse_settings, resolve_isa, resolve_out
from asmgen.cli.tuning import TuneFile, tune_options
from asmgen.model.network import Model
from asmgen.toolchain.stamp import building, digest, finish, is_current, stamp_file


@click.command()
@MODEL
@isa_option(multiple=True, cuda=True)
@cuda_options
@OUT
@SET
@tune_options
@click.option("--emit-only", is_flag=True, help="Write the sources; do not assemble or compile.")
def build(
    model_path: str,
    isa_names: tuple[str, ...],
    arch: str | None,
    precision: str | None,
    emulate: bool,
    out: Path | None,
    settings: tuple[str, ...],
    tune: TuneFile,
    emit_only: bool,
) -> None:
    """Generate the assembly of MODEL, assemble it and link the trainer: OUT/<model>/<isa>/trainer.

    With --isa cuda, the same for NVIDIA's GPUs: CUDA source, compiled by nvcc.

    ASMGEN_DEBUG prints more: 1 the plan, 2 the kernels, 3 the memory map, 4 the assembly, 5 NASM's listings.
    """
    options = cuda_choice(isa_names, arch, precision, emulate)
    model = load(model_path, settings)
    for name in isa_names:
        if name == CUDA_NAME:
            click.echo(_build_cuda(model, model_path, settings, options, resolve_out(out), emit_only))
            continue
        isa = resolve_isa(name)
        if emit_only:
            from asmgen.emit.generate import generate

            generated = generate(model, isa, resolve_out(out), tune.read(model, model_path, isa))
            click.echo(f"{generated.folder}: {len(generated.listings)} kernels, trainer.asm, manifest.json")
        else:
            click.echo(build_if_stale(model, model_path, settings, isa, resolve_out(out), tune))


def _build_cuda(
    model: Model, model_path: str, settings: tuple[str, ...], options: CudaOptions, out: Path, emit_only: bool
) -> str:
    """What was made, as the command prints it."""
    if not emit_only:
        return str(build_cuda_if_stale(model, model_path, settings, options, out))
    from asmgen.emit.cuda import generate_cuda

    generated = generate_cuda(model, options.precision, out, options.arches)
    return f"{generated.folder}: {len(generated.listings)} kernels, trainer.cu, trainer.asm, manifest.json"


def build_if_stale(
    model: Model, model_path: str, settings: tuple[str, ...], isa: Isa, out: Path, tune: TuneFile
) -> Path:
    """The path of the trainer, built unless nothing changed since it was."""
    folder = out / model.name / isa.name
    trainer = folder / "trainer"
    key = digest(model, Path(model_path), parse_settings(settings), isa.name, tune.path(model_path))
    with building(folder, lambda: say(f"{folder}: another build writes there; waiting for it")):
        if is_current(trainer, key) and debug_level() == 0:
            say(f"{folder}: nothing changed", level=1)
            return trainer
        from asmgen.cli.debug import print_generated
        from asmgen.emit.generate import generate
        from asmgen.toolchain.build import build_trainer

        started = time.perf_counter()
        stamp_file(trainer).unlink(missing_ok=True)
        generated = generate(model, isa, out, tune.read(model, model_path, isa))
        build_trainer(generated.folder, generated.sources)
        finish(trainer, key)
    print_generated(generated, debug_level())
    seconds = time.perf_counter() - started
    arena = generated.plan.arena_bytes / 1e6
    say(f"{model.name} for {isa.name}: {len(generated.listings)} kernels, arena {arena:.1f} MB, {seconds:.1f} s")
    return trainer
