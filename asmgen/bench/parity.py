"""What a trainer and PyTorch get to run side by side: drawn data, gentle rates, batches in the trainer's order.

A run has one batch an epoch (`--batch-limit 1`), so that the log has the loss of every step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from asmgen.data.idx import read_idx, write_idx
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.ops.conv2d import Conv2D
from asmgen.reference.random import shuffled

Array = np.ndarray[Any, Any]

STEPS = 20
LOSS_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}

# Models whose steps magnify any difference, PyTorch's own rounding too (at their shipped rates by 1e-3 and 4e-3 within
# 20 steps, where one ReLU or maximum of equal values falls the other way), and a learning rate at which one that does
# costs little: catdog is then within 2e-7 of PyTorch, and at 0.001 within 3e-4.
GENTLE_RATES = {"catdog": 0.0001, "vgg_small": 0.00002}

_PATCHES = 6  # of the soft shapes, in each direction


def draw(model: Model, count: int) -> tuple[Array, Array]:
    """u8 images [count, c, h, w] and random labels; as many as the model's validation split needs, where that is more.

    Of noise, so that no gradient nearly vanishes; with soft shapes under it for convolutions, so that rounding
    decides few maxima. Without this the steps magnify rounding, PyTorch's own too.
    """
    rng = np.random.default_rng(11)
    validation = model.data.validation
    count = max(count, validation[2] if validation else 0)
    c, h, w = model.input
    labels = rng.integers(0, classes_of(model), count)
    if not isinstance(model.layers[0], Conv2D):
        return rng.integers(0, 256, (count, c, h, w)).astype(np.uint8), labels
    coarse = rng.normal(0, 200, (count, c, _PATCHES, _PATCHES)).astype(np.float32)
    rows, cols = (np.linspace(0, _PATCHES - 1.01, size, dtype=np.float32) for size in (h, w))
    images = _between(_between(coarse, rows, 2), cols, 3)
    return (np.clip(images, 0, 155) + rng.integers(0, 100, images.shape)).astype(np.uint8), labels


def _between(values: Array, places: Array, axis: int) -> Array:
    """`values` along an axis at fractional places, linear between neighbours."""
    first = places.astype(int)
    share = (places % 1).reshape([-1 if at == axis else 1 for at in range(values.ndim)])
    left, right = values.take(first, axis), values.take(first + 1, axis)
    mixed: Array = left + share * (right - left)
    return mixed


def write_split(model: Model, folder: Path, split: str, images: Array, labels: Array) -> None:
    """The IDX files of "train" or "test"."""
    shape = images.shape if model.input[0] > 1 else (len(images), *model.input[1:])
    write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", images.reshape(shape))
    write_idx(folder / f"{split}-labels-idx1-ubyte", labels.astype(np.uint8))


def read_split(model: Model, folder: Path, split: str) -> tuple[Array, Array]:
    """What write_split wrote: u8 images [n, c, h, w], labels [n]."""
    (images,) = folder.glob(f"{split}-images-idx*-ubyte")
    return read_idx(images).reshape(-1, *model.input), read_idx(folder / f"{split}-labels-idx1-ubyte")


def first_batch(model: Model, count: int, epoch: int) -> Array:
    """Samples of the first batch of an epoch (from 0), where `count` are trained on."""
    return shuffled(model.seed, epoch, np.arange(count))[: model.batch_size]
