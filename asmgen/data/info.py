"""`asmgen data info`: what is in a data set directory, as numbers and as a sheet of pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asmgen.data.directory import DataDirectory, image_shape, read_directory
from asmgen.data.staging import staged_file
from asmgen.errors import DataError

_AT_ONCE = 64  # images whose pixels are counted at a time
_SHEET_COLUMNS, _SHEET_ROWS, _TILE = 10, 20, 64


@dataclass(frozen=True)
class FileInfo:
    """One IDX file."""

    name: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Description:
    """`counts` is samples per class by split; `mean` and `std` are of train's pixels / 255, one per channel."""

    path: str
    files: tuple[FileInfo, ...]
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def describe(path: Path) -> Description:
    """Read and check the data set in `path`. Raises DataError for a missing, broken or mismatched file."""
    data = read_directory(Path(path))
    pairs = [
        (file, array.shape)
        for split in data.splits.values()
        for file, array in ((split.images_path, split.images), (split.labels_path, split.labels))
    ]
    mean, std = _statistics(data.splits["train"].images)
    return Description(
        str(path),
        tuple(FileInfo(file.name, shape, file.stat().st_size) for file, shape in pairs),
        data.classes,
        {name: split.counts(len(data.classes)) for name, split in data.splits.items()},
        mean,
        std,
    )


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of what a model may take, else over all; from exact histograms."""
    shape = image_shape(images.shape[1:])
    channels = shape[0] if len(shape) == 3 else 1
    planes = images.reshape(len(images), channels, -1)
    histogram = np.zeros((channels, 256), np.int64)
    for start in range(0, len(planes), _AT_ONCE):
        for channel in range(channels):
            pixels = planes[start : start + _AT_ONCE, channel].ravel()
            histogram[channel] += np.bincount(pixels, minlength=256)
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(std.tolist())


def write_sheet(path: Path, file: Path) -> None:
    """Write a PNG with the first ten train samples of each class, a row per class (of the first twenty).

    Raises DataError when the samples are not pictures or `file` cannot be written.
    """
    data = read_directory(Path(path))
    channels, height, width = _picture_shape(data)
    zoom = max(1, math.ceil(_TILE / max(height, width)))
    tile_height, tile_width = height * zoom + 2, width * zoom + 2
    train = data.splits["train"]
    rows = min(len(data.classes), _SHEET_ROWS)
    sheet = Image.new("RGB", (_SHEET_COLUMNS * tile_width, rows * tile_height), "white")
    for row in range(rows):
        for column, index in enumerate(np.flatnonzero(train.labels == row)[:_SHEET_COLUMNS]):
            picture = train.images[index].reshape(channels, height, width)
            pixels = picture[0] if channels == 1 else picture.transpose(1, 2, 0)
            tile = Image.fromarray(np.ascontiguousarray(pixels)).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(tile, (column * tile_width + 1, row * tile_height + 1))
    with staged_file(Path(file)) as stage:
        sheet.save(stage, "PNG")


def _picture_shape(data: DataDirectory) -> tuple[int, int, int]:
    shape = image_shape(data.item_shape)
    if len(data.item_shape) < 2 or len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(
            f"{data.path}: samples of shape {'x'.join(map(str, data.item_shape))} are no pictures; [h][w] or "
            "[1 or 3][h][w] are"
        )
    channels, height, width = shape
    return channels, height, width
