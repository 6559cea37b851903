"""load_input: pixels of gathered images, scaled, in planes with a halo, in rows, or in blocks of channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.input import load_input
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import LoadInput


def _spec(
    shape: tuple[int, int, int],
    dtype: str,
    *,
    rows: bool = False,
    halo: Halo = NO_HALO,
    per_channel: bool = False,
    lanes: int = 4,
    n: int = 3,
) -> LoadInput:
    c, h, w = shape
    scale, shift = (1 / 255,) * c, (0.0,) * c
    if per_channel:
        scale, shift = tuple((i + 1) / 255 for i in range(c)), tuple(-0.5 * (i + 1) for i in range(c))
    dst = Rows(n, c * h * w, lanes, dtype) if rows else Image(n, c, h, w, 1, dtype, halo)
    return LoadInput(c, h, w, dst, scale, shift)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 64, 79, 97])
def test_rows_of_every_width(isa: str, dtype: str, width: int) -> None:
    """A row may be shorter than a vector, end inside one, or fill the unrolled loop."""
    halo = Halo(1, 2, width % 3, 1)
    check_kernel(_spec((2, 3, width), dtype, halo=halo, per_channel=width % 2 == 0), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 5), (3, 7, 9), (5, 1, 3)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_rows_and_images_without_a_halo(isa: str, dtype: str, shape: tuple[int, int, int], per_channel: bool) -> None:
    """Runs join across image rows, and across channels that share scale and shift."""
    lanes = ISAS[isa].lanes(dtype)
    check_kernel(_spec(shape, dtype, rows=True, per_channel=per_channel, lanes=lanes), isa)
    check_kernel(_spec(shape, dtype, per_channel=per_channel, n=1), isa)
    check_kernel(_spec(shape, dtype, halo=Halo(1, 1, 0, 0), per_channel=per_channel), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_blocks_of_channels(isa: str, dtype: str, per_channel: bool) -> None:
    """Pad lanes stay zero whatever the shift is; halos are not written."""
    lanes = ISAS[isa].lanes(dtype)
    for number, c in enumerate(sorted({1, 3, lanes - 1, lanes, lanes + 1, 2 * lanes + 3})):
        for h, w in ((1, 1), (3, 5)):
            planar = _spec((c, h, w), dtype, halo=(NO_HALO, Halo(1, 2, 3, 1))[number % 2], per_channel=per_channel)
            assert isinstance(planar.dst, Image)
            spec = replace(planar, dst=replace(planar.dst, block=lanes))
            check_kernel(spec, isa)
            assert spec.stem() != planar.stem()


def test_blocks_of_other_sizes_are_refused() -> None:
    spec = LoadInput(3, 2, 2, Image(1, 3, 2, 2, 8, "float32"), (1.0,) * 3, (0.0,) * 3)
    with pytest.raises(ValueError, match="blocks must be of 4 channels, or of 1"):
        load_input.emit(spec, ISAS["sse41"])


def test_shapes_of_the_models(isa: str) -> None:
    check_kernel(_spec((3, 128, 128), "float32", halo=Halo(1, 1, 1, 1), n=2), isa)
    check_kernel(_spec((1, 28, 28), "float32", rows=True, lanes=ISAS[isa].lanes("float32")), isa)


def test_images_beyond_4_gb(isa: str) -> None:
    """index * image size needs 64 bits, and an index all of its 32."""
    spec = _spec((3, 5, 5), "float32", n=1)
    image = np.arange(75, dtype=np.uint8)
    index = 0xFFFF_FFF0
    source, indices = GuardedBuffer(image, align=1), GuardedBuffer(np.array([index], np.uint32), align=4)
    target = GuardedBuffer(np.zeros(spec.dst.size_bytes // 4, np.float32))
    first_image = (source.address - index * image.size) % 2**64
    kernel = load_kernel(load_input.emit(spec, ISAS[isa]))
    assert not call(kernel, [first_image, indices.address, target.address], 0, 1, isa)
    np.testing.assert_allclose(target.read(np.float32)[:75], image / 255, rtol=1e-6)
