"""Times PyTorch's training step of the same model: zero_grad, forward, loss, backward, update on one fixed batch."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch

from asmgen.bench.torch_peer import TorchPeer
from asmgen.model.network import Model
from asmgen.model.shapes import classes_of
from asmgen.reference.initial import initial_parameters

VARIANTS = ("eager", "channels_last", "bf16")


class TorchStep:
    """One way to run the model in PyTorch: "eager", "channels_last", or "bf16" (autocast, channels_last)."""

    def __init__(self, model: Model, variant: str, threads: int) -> None:
        rng = np.random.default_rng(0)
        self._variant, self._threads = variant, threads
        self._peer = TorchPeer(model, initial_parameters(model))
        for group in self._peer.optimizer.param_groups:
            group["lr"] = 0.0
        images = rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8)
        self._x = self._peer.inputs(images)
        self._labels = torch.from_numpy(rng.integers(0, classes_of(model), model.batch_size))
        if variant != "eager":
            self._peer.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._x = self._x.contiguous(memory_format=torch.channels_last)

    def seconds_per_step(self, min_seconds: float) -> float:
        """The median step of about `min_seconds` of steps, denormals flushed as the trainer does."""
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._variant == "bf16"):
            self._peer.step(self._x, self._labels)
            steps: list[float] = []
            while len(steps) < 5 or sum(steps) < min_seconds:
                began = time.perf_counter()
                self._peer.step(self._x, self._labels)
                steps.append(time.perf_counter() - began)
        return median(steps)
