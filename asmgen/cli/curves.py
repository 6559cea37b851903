"""Training curves of a trainer's log as a picture. Importing this module imports matplotlib."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure


def draw_curves(log: Path, target: Path) -> None:
    """Loss and accuracies by epoch, from the CSV of `--log`."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [float(row["loss"]) for row in rows], marker="o", markersize=3)
    left.set(title="training loss", xlabel="epoch", ylim=(0, None))
    for column in ("train_acc", "val_acc"):
        points = [(epoch, float(row[column])) for epoch, row in zip(epochs, rows, strict=True) if row[column]]
        if points:
            right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=column.removesuffix("_acc"))
    right.set(title="accuracy (%)", xlabel="epoch")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=120)
