"""softmax and sigmoid of rows: around the vector, flattened images, extreme logits, NaN."""

from __future__ import annotations

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.registry import emit_kernel
from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs import Probabilities

KINDS = ("softmax", "sigmoid")
DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_outputs(isa: str, dtype: str, kind: str) -> None:
    lanes = ISAS[isa].lanes(dtype)
    for outputs in sorted({1, 2, 10, lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 1000}):
        check_kernel(Probabilities(kind, Rows(5, outputs, lanes, dtype)), isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_of_a_flattened_image(isa: str, dtype: str, kind: str) -> None:
    """Outputs lie in the image's order, with padding behind every pixel's channels."""
    for c, h, w in ((3, 1, 1), (5, 2, 2), (17, 1, 3)):
        source = Image(3, c, h, w, ISAS[isa].lanes(dtype), dtype)
        check_kernel(Probabilities(kind, Rows(3, c * h * w, source.block, dtype, source)), isa)


def _run(spec: Probabilities, isa: str, z: np.ndarray) -> np.ndarray:
    memory = [GuardedBuffer(spec.z.pack(z)), GuardedBuffer(spec.z.pack(np.full(z.shape, 7.0)))]
    kernel = load_kernel(emit_kernel(spec, ISAS[isa]))
    assert not call(kernel, [part.address for part in memory], 0, spec.z.n, isa)
    return spec.z.unpack(memory[1].read(spec.z.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits(isa: str, dtype: str) -> None:
    """Logits whose exponentials overflow give probabilities; a NaN makes its whole row NaN and no other."""
    rows = Rows(4, 3, ISAS[isa].lanes(dtype), dtype)
    z = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [5, -np.inf, 5], [0, np.nan, 0]])
    p = _run(Probabilities("softmax", rows), isa, z)
    np.testing.assert_allclose(p[:3], [[1, 0, 0], [1 / 3] * 3, [0.5, 0, 0.5]], rtol=1e-6)
    assert np.isnan(p[3]).all()
    p = _run(Probabilities("sigmoid", rows), isa, z)
    np.testing.assert_allclose(p[:2], [[1, 0, 0.5], [0, 0, 0]], rtol=1e-6)
    assert list(np.isnan(p[3])) == [False, True, False]


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="softmax or sigmoid"):
        emit_kernel(Probabilities("tanh", Rows(1, 3, 4, "float32")), ISAS["sse41"])
