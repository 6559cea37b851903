"""Every sort of image becomes RGB or gray bytes; every broken one a reason."""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import pytest
from pictures import BROKEN, encode, photo
from PIL import Image

from asmgen.data.decode import ImageSpec, RejectError, decode_image

SPEC = ImageSpec(16, 20)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_rejected_with_the_reason(name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises(RejectError) as caught:
        decode_image(data, SPEC)
    assert re.fullmatch(reason + ".*", str(caught.value)), caught.value


def test_every_prefix_of_an_image_is_an_image_or_a_reject() -> None:
    for data in (encode(photo(3), "JPEG"), encode(photo(3)), encode(photo(3), "GIF"), encode(photo(3), "TIFF")):
        outcomes = set()
        for end in range(0, len(data), 7):
            try:
                outcomes.add(decode_image(data[:end], SPEC).shape)
            except RejectError as reject:
                outcomes.add(str(reject).split()[0])
        assert "empty" in outcomes
        assert outcomes <= {"empty", "not", "broken", (3, 16, 20)}


def test_random_damage_never_escapes() -> None:
    random = np.random.default_rng(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encode(photo(4), "JPEG", exif=exif), encode(photo(4)), encode(photo(4).quantize(16), "GIF")):
        for _ in range(150):
            damaged = bytearray(data)
            for position in random.integers(0, len(data), 6):
                damaged[position] = random.integers(256)
            with suppress(RejectError):
                assert decode_image(bytes(damaged), SPEC).shape == (3, 16, 20)


def test_rgb_is_pillows_bilinear_resize() -> None:
    image = photo(5, (40, 31))
    expected = np.asarray(image.resize((20, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(encode(image), SPEC), expected.transpose(2, 0, 1))
    gray = np.asarray(image.convert("L").resize((20, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(encode(image), ImageSpec(16, 20, gray=True)), gray[None])


def solid(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (20, 16), colour)  # type: ignore[arg-type]


CLEAR_RED_PALETTE = solid("P", 0)
CLEAR_RED_PALETTE.putpalette([255, 0, 0, 0, 0, 255])


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        pytest.param(encode(solid("L", 77)), (77, 77, 77), id="gray"),
        pytest.param(encode(solid("1", 1)), (255, 255, 255), id="bilevel"),
        pytest.param(encode(solid("RGBA", (255, 0, 0, 0))), (255, 255, 255), id="transparent"),
        pytest.param(encode(solid("RGBA", (255, 0, 0, 255))), (255, 0, 0), id="opaque"),
        pytest.param(encode(solid("LA", (0, 0))), (255, 255, 255), id="gray-alpha"),
        pytest.param(encode(CLEAR_RED_PALETTE), (255, 0, 0), id="palette"),
        pytest.param(encode(CLEAR_RED_PALETTE, transparency=0), (255, 255, 255), id="transparent-palette"),
        pytest.param(encode(solid("RGB", (9, 9, 9)), transparency=(9, 9, 9)), (255, 255, 255), id="colour-key"),
        pytest.param(encode(Image.fromarray(np.full((16, 20), 0x80FF, np.uint16))), (128, 128, 128), id="16-bit"),
        pytest.param(encode(solid("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0), id="cmyk"),
        pytest.param(encode(solid("RGB", (1, 2, 3)), "BMP"), (1, 2, 3), id="bmp"),
    ],
)
def test_modes(data: bytes, rgb: tuple[int, int, int]) -> None:
    pixels = decode_image(data, SPEC)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(rgb)[:, None, None], (3, 16, 20)))


def test_exif_turns_upright_and_its_garbage_does_not_matter() -> None:
    image = photo(6, (20, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode_image(encode(image, exif=exif), SPEC)
    np.testing.assert_array_equal(turned, np.asarray(image)[::-1, ::-1].transpose(2, 0, 1))
    garbage = encode(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xee" * 40)
    np.testing.assert_array_equal(decode_image(garbage, SPEC), decode_image(encode(image, "JPEG"), SPEC))
