"""Times the NumPy peer on one fixed batch."""

from __future__ import annotations

import numpy as np

from asmgen.bench.compare import median_seconds
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.peers.numpy_peer import NumpyPeer, set_blas_threads
from asmgen.reference.initial import initial_parameters


class NumpyStep:
    """The model, im2col and BLAS, in its own dtype."""

    def __init__(self, model: Model) -> None:
        rng = np.random.default_rng(0)
        self._peer = NumpyPeer(model, initial_parameters(model))
        self._x = self._peer.inputs(rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8))
        self._labels = rng.integers(0, classes_of(model), model.batch_size)

    def seconds_per_step(self, threads: int, at_least: float) -> float:
        """Of forward, loss, backward, update: the median over about `at_least` seconds."""
        set_blas_threads(threads)
        return median_seconds(lambda: self._peer.step(self._x, self._labels, lr=0.0), at_least)

    def seconds_per_test(self, threads: int, at_least: float) -> float:
        """Of a forward pass."""
        set_blas_threads(threads)
        return median_seconds(lambda: self._peer.logits(self._x), at_least)
