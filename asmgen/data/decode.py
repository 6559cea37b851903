"""One file's bytes -> one ubyte image of a fixed shape, or the reason why not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Image.init()

# Raster formats only: Pillow also opens documents (EPS, PDF, WMF) by running other programs.
_FORMATS = tuple(
    name
    for name in ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
MAX_PIXELS = 100_000_000


class RejectError(Exception):
    """This file does not become a sample; the message is the reason."""


@dataclass(frozen=True)
class ImageSpec:
    """What every sample of a data set looks like: `[c][height][width]`, c = 1 (gray) or 3."""

    height: int
    width: int
    gray: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.gray else 3, self.height, self.width)


def decode_image(data: bytes, spec: ImageSpec) -> np.ndarray:
    """Decode every pixel, turn upright, lay transparency on white, resize (bilinear) -> ubyte `spec.shape`.

    Raises RejectError, and nothing else, for bytes that are no complete image.
    """
    if not data:
        raise RejectError("empty file (0 bytes)")
    try:
        # Pillow warns about damaged metadata; the pixels decide.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, spec)
    except UnidentifiedImageError:
        raise RejectError(f"not an image (starts with {data[:8].hex(' ')})") from None
    except Image.DecompressionBombError:
        raise RejectError(f"more than {MAX_PIXELS} pixels") from None
    except RejectError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        raise RejectError(f"broken image: {' '.join(str(error).split()) or type(error).__name__}") from error


def _decode(data: bytes, spec: ImageSpec) -> np.ndarray:
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise RejectError(f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels")
        image.load()
        pixels = _on_white(_eight_bits(_upright(image))).convert("L" if spec.gray else "RGB")
    resized = np.asarray(pixels.resize((spec.width, spec.height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(resized.reshape(spec.height, spec.width, -1).transpose(2, 0, 1))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF: the pixels are fine as they are stored
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit gray scaled to 8 bits; Pillow's own conversion would clip everything above 255 to white."""
    if image.mode == "F":
        raise RejectError("floating-point pixels have no defined range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise RejectError(f"pixel values {values.min()}..{values.max()} are outside 0..65535")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Opaque image: what hides behind transparent pixels is arbitrary, so white takes its place."""
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "La", "RGBa"):
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
