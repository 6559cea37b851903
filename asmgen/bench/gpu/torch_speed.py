"""Times a model's step in PyTorch on a GPU: `python -m asmgen.bench.gpu.torch_speed MODEL`, one line of JSON a row.

Needs PyTorch, NumPy and click only, so that it runs on machines without PeachPy. Every row trains on one fixed batch
that lies on the device as floats; a time is the median over rounds of `--steps` steps, by CUDA events and by the wall
clock.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
import numpy as np
import torch

from asmgen.bench.gpu.speed import TORCH_ROWS, TORCH_STEPS, SpeedRow
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.ops.conv2d import Conv2D
from asmgen.peers.torch_peer import TorchPeer
from asmgen.reference.initial import initial_parameters

WARM_UP_STEPS = 20


def rows_of(model: Model, on_gpu: bool) -> list[str]:
    """ "eager", "channels_last" where there are images, "graph" (a whole step captured, fused optimizer), "compile"
    (network and loss, max-autotune; fused optimizer)."""
    has_images = any(isinstance(layer, Conv2D) for layer in model.layers)
    return ["eager", *(["channels_last"] if has_images else []), *(["graph", "compile"] if on_gpu else [])]


def make_step(model: Model, name: str, device: str) -> Callable[[], object]:
    """A function that trains for one step, as the row `name` does."""
    rng = np.random.default_rng(0)
    peer = TorchPeer(model, initial_parameters(model))
    peer.network.to(device)
    x = peer.inputs(rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8)).to(device)
    labels = torch.from_numpy(rng.integers(0, classes_of(model), model.batch_size)).to(device)
    if name != "eager" and "channels_last" in rows_of(model, False):
        peer.network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    if name in ("graph", "compile"):
        peer.optimizer = _fused(peer)
    if name == "compile":
        peer.loss = torch.compile(peer.loss, mode="max-autotune")

    def step() -> object:
        return peer.step(x, labels)

    return _captured(step) if name == "graph" else step


def _fused(peer: TorchPeer) -> torch.optim.Optimizer:
    """The peer's optimizer in its fused form, capturable where that is a choice."""
    kind = type(peer.optimizer)
    known = inspect.signature(kind).parameters
    options = {name: value for name, value in peer.optimizer.defaults.items() if name in known}
    options |= {"foreach": None, "fused": True} | ({"capturable": True} if "capturable" in known else {})
    return kind(peer.network.parameters(), **options)


def _captured(step: Callable[[], object]) -> Callable[[], object]:
    """`step` as one CUDA graph."""
    stream: Any = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], object] = graph.replay
    return replay


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def measure(step: Callable[[], object], steps: int, rounds: int, on_gpu: bool) -> tuple[float, float]:
    """(by events, by the wall clock) seconds a step, medians over the rounds."""
    for _ in range(WARM_UP_STEPS):
        step()
    by_event, by_wall = [], []
    for _ in range(rounds):
        if on_gpu:
            begin, end = _event(), _event()
            torch.cuda.synchronize()
            begin.record()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if on_gpu:
            end.record()
            torch.cuda.synchronize()
        wall = time.perf_counter() - started
        by_wall.append(wall / steps)
        by_event.append((begin.elapsed_time(end) / 1e3 if on_gpu else wall) / steps)
    return statistics.median(by_event), statistics.median(by_wall)


def measured(model: Model, name: str, products: str, device: str, steps: int, rounds: int) -> SpeedRow:
    """One row. products "tf32": in convolutions and dense layers; otherwise neither uses it, as is not the default."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = products == "tf32"
    if name == "compile":
        torch.compiler.reset()
    times = measure(make_step(model, name, device), steps, rounds, device != "cpu")
    return SpeedRow(model.name, products, name, *times)


@click.command()
@click.argument("model_path", metavar="MODEL")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set an option of the model's function.")
@click.option("--products", multiple=True, help="float32, tf32 or float64.  Repeatable.  [default: the model's dtype]")
@click.option("--rows", default=",".join(TORCH_ROWS), show_default=True, help="Which of these.")
@click.option("--steps", type=click.IntRange(1), default=TORCH_STEPS, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--device", default="cuda", show_default=True, help="cpu: only to see that this program works.")
def main(
    model_path: str,
    settings: tuple[str, ...],
    products: tuple[str, ...],
    rows: str,
    steps: int,
    rounds: int,
    device: str,
) -> None:
    """Time MODEL's training step in PyTorch on a GPU. Exit code 1 where a row could not be measured."""
    torch.backends.cudnn.benchmark = True
    model = load_model(model_path, dict(setting.split("=", 1) for setting in settings))
    failed = False
    for name in (name for name in rows_of(model, device != "cpu") if name in rows.split(",")):
        for product in products or (model.dtype,):
            try:
                row = measured(model, name, product, device, steps, rounds)
            except Exception as error:  # the next row may still tell something
                failed = True
                click.echo(f"{name} in {product}: {type(error).__name__}: {_first_line(error)}", err=True)
            else:
                click.echo(json.dumps(asdict(row)))
    sys.exit(failed)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


if __name__ == "__main__":
    main()
