"""Image files for the tests: good ones of every sort, and broken ones with the reason expected for each."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    """A smooth random RGB picture, (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)


def png(width: int, height: int) -> bytes:
    """The header of a gray PNG of any size, and no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


_JPEG = encode(photo(1, (64, 64)), "JPEG", quality=90)

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", r"empty file \(0 bytes\)"),
    "text.jpg": (b"hello, world", r"not an image \(starts with 68 65 6c 6c 6f 2c 20 77\)"),
    "Thumbs.db": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), r"not an image \(starts with d0 cf 11 e0"),
    "truncated.jpg": (_JPEG[: len(_JPEG) // 2], "broken image: .*truncated"),
    "truncated.png": (encode(photo(2, (64, 64)))[:-200], "broken image: .*"),
    "header.gif": (b"GIF89a", "broken image: .*|not an image .*"),
    "bomb.png": (png(20_000, 6_000), "20000x6000 is more than 100000000 pixels"),
    "big_bomb.png": (png(60_000, 60_000), "more than 100000000 pixels"),
    "postscript.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "not an image .*"),
    "float.tif": (encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "floating-point pixels .*"),
    "deep.tif": (
        encode(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"),
        r"pixel values 70000\.\.70000 are outside 0\.\.65535",
    ),
}


def fill_folder(root: Path, per_class: dict[str, int]) -> None:
    """Class folders of small JPEG and PNG files."""
    for label, (name, count) in enumerate(per_class.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            picture = photo(1000 * label + index, (10 + index % 7, 9 + index % 5))
            suffix, kind = (".jpg", "JPEG") if index % 2 else (".png", "PNG")
            (root / name / f"{index}{suffix}").write_bytes(encode(picture, kind))


def zip_folder(root: Path, archive: Path, name: Callable[[str], str] = lambda path: path) -> None:
    """Zip the files below `root`, in an order that is not the alphabet's."""
    files = sorted((file for file in root.rglob("*") if file.is_file()), reverse=True)
    with zipfile.ZipFile(archive, "w") as out:
        for file in files:
            out.write(file, name(str(file.relative_to(root))))
