"""Models whose tensors are larger than a displacement or an index reaches: built, or refused with the layer's line."""

from __future__ import annotations

import re

import pytest

from asmgen import Adam, BinaryCrossEntropy, Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, ReLU, Tanh
from asmgen import SoftmaxCrossEntropy as SoftmaxLoss
from asmgen.asm.isa import ISAS
from asmgen.cuda.target import CUDA
from asmgen.emit.cuda import emit_cuda_plan
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.errors import UnsupportedError
from asmgen.ops.base import Layer

TARGETS = (*ISAS, "cuda")


def model(shape: tuple[int, int, int], layers: list[Layer], batch: int, dtype: str = "float64") -> Model:
    loss = BinaryCrossEntropy() if layers[-1] == Dense(1) else SoftmaxLoss()
    data = Dataset("large")
    return Model("large", shape, layers, loss, Adam(lr=0.001), data, batch_size=batch, dtype=dtype)


def emit(network: Model, target: str) -> None:
    if target == "cuda":
        emit_cuda_plan(plan_for(network, CUDA), "float32")
    else:
        emit_plan(plan_for(network, ISAS[target]), ISAS[target])


@pytest.mark.parametrize("target", TARGETS)
def test_states_of_a_large_dense_layer(target: str) -> None:
    """The first dense layer of VGG-16: 0.8 GB of weights, and two states."""
    network = model((512, 7, 7), [Flatten(), Dense(4096), ReLU(), Dense(10)], batch=8)
    assert plan_for(network, CUDA if target == "cuda" else ISAS[target]).arena_bytes > 1 << 31
    emit(network, target)


@pytest.mark.parametrize("target", TARGETS)
def test_states_of_large_convolutions(target: str) -> None:
    """More than 2 GB of parameters for one update."""
    layers = [layer for filters in (4096, 1024, 4096) for layer in (Conv2D(filters, 5, padding=2), ReLU())]
    emit(model((1024, 8, 8), [*layers, Flatten(), Dense(2)], batch=2), target)


@pytest.mark.parametrize("target", TARGETS)
def test_the_widest_padding(target: str) -> None:
    """A first layer whose strips of pixels are too wide, and layers behind it with gradients of every kind."""
    layers: list[Layer] = [
        Conv2D(4, 3, stride=16, padding=1024), ReLU(), MaxPool2D(8), Conv2D(8, 3, padding=40), ReLU(), MaxPool2D(3, 2),
        Conv2D(16, 3, padding=5), ReLU(), Conv2D(16, (2, 3), stride=64, padding=(1024, 1023)), Flatten(), Dense(2),
    ]  # fmt: skip
    emit(model((3, 30, 20), layers, batch=2), target)


SAMPLE = [Conv2D(1, 3, padding=1), Tanh(), Conv2D(1, 3, padding=1), ReLU(), MaxPool2D(16), Flatten(), Dense(2)]
WEIGHTS = [Flatten(), Dense(1)]
SAMPLES = [Conv2D(8, 1), ReLU(), Flatten(), Dense(4)]
BATCH = [Conv2D(64, 1), ReLU(), MaxPool2D(2), Flatten(), Dense(2)]
REFUSED: dict[str, tuple[str, Model, Layer | None, str]] = {
    "a sample": ("avx512", model((1, 8192, 8192), SAMPLE, 8), SAMPLE[0], "conv1: conv2d"),
    "weights": ("avx2", model((4, 4096, 4096), WEIGHTS, 2), WEIGHTS[1], "dense1: dense"),
    "samples of a tile": ("avx512", model((3, 2048, 2048), SAMPLES, 64), SAMPLES[3], "dense1: dense_dx"),
    "images of a batch": ("cuda", model((64, 512, 512), BATCH, 128), None, "input: load_input"),
    "outputs of a batch": ("cuda", model((3, 2048, 2048), SAMPLES, 64), SAMPLES[0], "conv1: conv2d"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_addressed_is_refused(case: tuple[str, Model, Layer | None, str]) -> None:
    """With the line of the layer, or of the model, and what has which size."""
    target, network, layer, what = case
    with pytest.raises(UnsupportedError) as found:
        emit(network, target)
    assert found.value.where == (layer or network).where
    assert what in str(found.value)
    assert re.search(r"\([\w.]+ has \d+\.\d GB for a batch of \d+\)", str(found.value))
