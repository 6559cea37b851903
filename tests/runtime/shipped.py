"""Trainers of the shipped models, and random images for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from asmgen.asm.isa import ISAS
from asmgen.data.idx import write_idx
from asmgen.emit.generate import generate
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.model.trace import classes_of
from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.build import build_trainer


def shipped(name: str, settings: dict[str, str], isa: str, folder: Path) -> tuple[Model, Path]:
    """A model without validation split and its trainer; `folder` becomes its data set of two batches and a sample."""
    model = load_model(str(RUNTIME_DIR.parent / "models" / f"{name}.py"), settings)
    model = replace(model, data=replace(model.data, validation=None))
    generated = generate(model, ISAS[isa], folder)
    trainer = build_trainer(generated.folder, generated.sources)
    rng = np.random.default_rng(0)
    channels, height, width = model.input
    for split, count in (("train", 2 * model.batch_size + 1), ("test", 10)):
        shape = (count, channels, height, width) if channels > 1 else (count, height, width)
        images = rng.integers(0, 256, shape).astype(np.uint8)
        write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", rng.integers(0, classes_of(model), count).astype(np.uint8))
    return model, trainer
