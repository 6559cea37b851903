"""`asmgen bench --isa cuda`: the CUDA trainer beside PyTorch, on this machine's GPU."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from asmgen.cli.cuda import CudaOptions, build_cuda_if_stale
from asmgen.cli.options import CUDA_NAME, load
from asmgen.errors import ToolError, UsageError

_MEANINGFUL = ("model_path", "settings", "isa_names", "out", "precision", "against", "rounds", "as_json")
_TORCH_SECONDS = 600  # torch.compile tries many kernels


def check_options(ctx: click.Context, isa_names: tuple[str, ...], against: str) -> None:
    """Raise UsageError for what was asked for and means nothing on a GPU."""
    if set(isa_names) != {CUDA_NAME}:
        raise UsageError(f"--isa {', '.join(isa_names)}: a GPU is measured alone, {CUDA_NAME} and CPUs in two commands")
    if against not in ("torch", "none"):
        raise UsageError(f"--against {against}: on a GPU there is torch, or none")
    for parameter in ctx.command.params:
        given = parameter.name and ctx.get_parameter_source(parameter.name) != ParameterSource.DEFAULT
        if given and parameter.name not in _MEANINGFUL:
            raise UsageError(f"{parameter.opts[0]} is of CPUs, --isa is {CUDA_NAME}; `nsys` and `ncu` time its kernels")


def bench_cuda(
    model_path: str, settings: tuple[str, ...], precision: str, against: str, rounds: int, out: Path, as_json: bool
) -> str:
    """Build, measure -> the table, or JSON. Raises ToolError with the trainer's own line where there is no GPU."""
    from asmgen.bench.deadline import Clock
    from asmgen.bench.gpu.speed import TorchRequest, speed_table, steps_of, torch_rows, trainer_row

    model = load(model_path, settings)
    products = precision if model.dtype == "float32" else model.dtype
    trainer = build_cuda_if_stale(model, model_path, settings, CudaOptions(precision=precision), out)
    runner = Clock().until(float("inf"))
    with tempfile.TemporaryDirectory(prefix="asmgen-bench-") as folder:
        rows = [trainer_row(model, products, trainer, Path(folder), runner, steps_of(model), rounds)]
    if against == "torch":
        request = TorchRequest(model_path, settings, (products,), rounds=rounds)
        theirs, problem = torch_rows(request, runner, _TORCH_SECONDS)
        if problem and not theirs:
            raise ToolError(f"PyTorch cannot be measured: {problem}; --against none leaves it out")
        rows += theirs
    if as_json:
        return json.dumps([asdict(row) for row in rows], indent=1)
    title = f"{model.name}, {model.dtype}, batch {model.batch_size}: training step on a GPU"
    return speed_table(rows, title).text()
