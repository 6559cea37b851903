"""Times the same model in PyTorch on one fixed batch. Importing this module imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from asmgen.bench.compare import median_seconds
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.ops.conv2d import Conv2D
from asmgen.peers.torch_peer import TorchPeer
from asmgen.reference.initial import initial_parameters


def variants(model: Model) -> list[str]:
    """The ways to run `model`: "eager", "channels_last" for images, "bf16" (autocast, the faster memory format)."""
    has_images = any(isinstance(layer, Conv2D) for layer in model.layers)
    return ["eager", *(["channels_last"] if has_images else []), *(["bf16"] if model.dtype == "float32" else [])]


class TorchStep:
    """One of `variants`."""

    def __init__(self, model: Model, variant: str) -> None:
        rng = np.random.default_rng(0)
        self._is_bf16 = variant == "bf16"
        self._peer = TorchPeer(model, initial_parameters(model))
        for group in self._peer.optimizer.param_groups:
            group["lr"] = 0.0
        images = rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8)
        self._x = self._peer.inputs(images)
        self._labels = torch.from_numpy(rng.integers(0, classes_of(model), model.batch_size))
        if variant == "channels_last" or (self._is_bf16 and "channels_last" in variants(model)):
            self._peer.network.to(memory_format=torch.channels_last)
            self._x = self._x.contiguous(memory_format=torch.channels_last)

    def seconds_per_step(self, threads: int, at_least: float) -> float:
        """Of zero_grad, forward, loss, backward, update: the median over about `at_least` seconds."""
        with self._settings(threads):
            return median_seconds(lambda: self._peer.step(self._x, self._labels), at_least)

    def seconds_per_test(self, threads: int, at_least: float) -> float:
        """Of a forward pass without gradients."""
        with self._settings(threads), torch.inference_mode():
            return median_seconds(lambda: self._peer.network(self._x), at_least)

    @contextlib.contextmanager
    def _settings(self, threads: int) -> Iterator[None]:
        """Denormals are flushed as the trainer does."""
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=self._is_bf16):
                yield
        finally:
            torch.set_flush_denormal(False)
