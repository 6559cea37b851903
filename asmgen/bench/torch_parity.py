"""PyTorch's losses over a trainer's first steps: `python -m asmgen.bench.torch_parity MODEL --weights FILE --data DIR`.

PyTorch computes in float64 here, whatever the model's dtype: over 20 steps its own float32 losses leave its float64
ones by 1e-4 to 4e-3 (ReLU and argmax flip on rounding), so float32 against float32 would compare two roundings.
Needs PyTorch, NumPy and click only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import torch

from asmgen.bench.parity import STEPS, Array, first_batch, read_split
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.model.tensor_file import read_tensor
from asmgen.peers.torch_peer import TorchPeer
from asmgen.reference.initial import initial_parameters


class TorchRun:
    """One batch an epoch, as the trainer takes them with `--batch-limit 1`; lr: of the first epoch."""

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, Array],
        images: Array,
        labels: Array,
        *,
        lr: float | None = None,
        device: str = "cpu",
        dtype: str = "float64",
    ) -> None:
        self.peer = TorchPeer(model, parameters, dtype)
        self.peer.network.to(device)
        self._model, self._images, self._labels, self._device = model, images, labels, device
        self._lr = model.optimizer.lr if lr is None else lr

    def step(self, epoch: int) -> float:
        """The loss of this epoch's first batch, and a step from it."""
        batch = first_batch(self._model, len(self._images), epoch)
        for group in self.peer.optimizer.param_groups:
            group["lr"] = self._lr * self._model.optimizer.lr_decay**epoch
        x = self.peer.inputs(self._images[batch]).to(self._device)
        labels = torch.from_numpy(self._labels[batch].astype(np.int64)).to(self._device)
        return float(self.peer.step(x, labels))


@click.command()
@click.argument("model_path", metavar="MODEL")
@click.option("--weights", required=True, help="The safetensors file that the trainer saved before the first step.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder of the IDX files.")
@click.option("--lr", type=float, help="As of the trainer.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True)
@click.option("--device", default="cuda", show_default=True)
def main(model_path: str, weights: str, data: Path, lr: float | None, steps: int, device: str) -> None:
    """Print the losses of MODEL's first steps as JSON."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = load_model(model_path, {})
    parameters = {name: read_tensor(weights, name) for name in initial_parameters(model)}
    run = TorchRun(model, parameters, *read_split(model, data, "train"), lr=lr, device=device)
    click.echo(json.dumps([run.step(epoch) for epoch in range(steps)]))


if __name__ == "__main__":
    main()
