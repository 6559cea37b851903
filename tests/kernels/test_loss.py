"""Every loss: dz, losses and predictions, and what a NaN does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.loss import loss
from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs import Loss

SOFTMAX = ("softmax_ce", "smoothed", "weighted", "weighted_smoothed")
KINDS = (*SOFTMAX, "bce", "mse", "mae", "huber")


def loss_of(kind: str, z: Rows) -> Loss:
    """A loss with constants that are not the usual ones: a delta that two of three distances exceed."""
    match kind:
        case "huber":
            return Loss("huber", z, delta=0.4)
        case "smoothed":
            return Loss("softmax_ce", z, label_smoothing=0.1)
        case "weighted" | "weighted_smoothed":
            weights = tuple(0.25 + 7 * k % 5 / 3 for k in range(z.features))
            return Loss("softmax_ce", z, label_smoothing=0.1 if "smoothed" in kind else 0.0, class_weights=weights)
    return Loss(kind, z)


def fits(kind: str, outputs: int) -> bool:
    """Whether the loss may have so many outputs."""
    return outputs > 1 or kind not in SOFTMAX


def _spec(kind: str, isa: str, dtype: str, outputs: int, n: int = 5) -> Loss:
    return loss_of(kind, Rows(n, outputs, ISAS[isa].lanes(dtype), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_outputs(isa: str, dtype: str, kind: str) -> None:
    for outputs in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 35, 1000):
        if fits(kind, outputs):
            check_kernel(_spec(kind, isa, dtype, outputs), isa)
            check_kernel(replace(_spec(kind, isa, dtype, outputs), gradient=False), isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 1, 1), (10, 1, 1), (5, 2, 2), (17, 1, 3)])
def test_outputs_of_a_flattened_image(isa: str, dtype: str, kind: str, shape: tuple[int, int, int]) -> None:
    """Outputs lie in the image's order, with padding behind every pixel's channels."""
    c, h, w = shape
    source = Image(3, c, h, w, ISAS[isa].lanes(dtype), dtype)
    for gradient in (True, False):
        check_kernel(replace(loss_of(kind, Rows(3, c * h * w, source.block, dtype, source)), gradient=gradient), isa)


@pytest.mark.parametrize("n", [1, 2, 33])
def test_batches(isa: str, n: int) -> None:
    for kind in KINDS:
        check_kernel(_spec(kind, isa, "float32", 10, n), isa)


def _run(spec: Loss, isa: str, z: np.ndarray, labels: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dz (z where there is none), losses, preds of a full batch."""
    n, dtype = spec.z.n, spec.z.dtype
    block = np.zeros(spec.preds_offset_bytes + 4 * n, np.uint8)
    block[: spec.z.element_bytes].view(dtype)[:] = 1 / n
    block[8:12].view(np.uint32)[:] = n
    memory = [GuardedBuffer(part) for part in (spec.z.pack(z), np.array(labels, np.uint32), spec.z.pack(z), block)]
    assert not call(load_kernel(loss.emit(spec, ISAS[isa])), [part.address for part in memory], 0, n, isa)
    losses = memory[3].bytes[spec.losses_offset_bytes :][: n * spec.z.element_bytes].copy().view(dtype)
    return spec.z.unpack(memory[2].read(dtype)), losses, memory[3].bytes[spec.preds_offset_bytes :].view(np.uint32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 2, 10, 40])
def test_nan_reaches_the_loss(isa: str, dtype: str, kind: str, outputs: int) -> None:
    """A NaN anywhere in a row makes its loss NaN, and no other; the prediction stays a class."""
    if not fits(kind, outputs):
        return
    spec = _spec(kind, isa, dtype, outputs, outputs + 1)
    z = np.linspace(-1, 1, spec.z.n * outputs).reshape(spec.z.n, outputs)
    z[np.arange(outputs), np.arange(outputs)] = np.nan
    _, losses, preds = _run(spec, isa, z, [0] * spec.z.n)
    assert np.isnan(losses[:outputs]).all()
    assert np.isfinite(losses[outputs])
    assert (preds < max(outputs, 2)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_has_the_bits_of_a_training_step(isa: str, dtype: str, kind: str) -> None:
    for outputs in (2 if kind in SOFTMAX else 1, 10, 40):
        spec = _spec(kind, isa, dtype, outputs, 33)
        rng = np.random.default_rng(outputs)
        z, labels = rng.normal(size=(33, outputs)) * 5, list(rng.integers(0, max(outputs, 2), 33))
        dz, *trained = _run(spec, isa, z, labels)
        rest, *evaluated = _run(replace(spec, gradient=False), isa, z, labels)
        assert all(np.array_equal(a, b) for a, b in zip(trained, evaluated, strict=True))
        assert np.array_equal(rest, z.astype(dtype))
        assert not np.array_equal(dz, rest)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits(isa: str, dtype: str) -> None:
    """Huge logits give finite losses and slopes; an infinite one a loss that is not finite."""
    spec = _spec("softmax_ce", isa, dtype, 3, 4)
    z = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [0, np.inf, 0], [5, -np.inf, 5]])
    dz, losses, preds = _run(spec, isa, z, [0, 1, 0, 2])
    assert losses[0] == 0
    np.testing.assert_allclose(losses[[1, 3]], [np.log(3), np.log(2)], rtol=1e-6)
    assert np.isnan(losses[2])
    assert np.isfinite(dz[[0, 1, 3]]).all()
    assert list(preds[[0, 1, 3]]) == [0, 0, 0]
    spec = _spec("bce", isa, dtype, 1, 4)
    dz, losses, _ = _run(spec, isa, np.array([[1e30], [-1e30], [50.0], [-50.0]]), [1, 0, 1, 1])
    np.testing.assert_allclose(losses, [0, 0, np.exp(-50), 50], rtol=1e-6)
    np.testing.assert_allclose(dz[:, 0] * 4, [0, 0, -np.exp(-50), -1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slopes_at_their_corners(isa: str, dtype: str) -> None:
    """Of an absolute error: 0 at 0, else its sign. Of Huber's: the distance up to delta, delta beyond, NaN of NaN."""
    z = np.array([[1.0], [0.0], [1e-30], [-1e-30], [3.0], [-0.25], [0.5], [np.nan]])
    labels = [1, 0, 0, 0, 1, 0, 0, 0]
    dz, losses, _ = _run(_spec("mae", isa, dtype, 1, 8), isa, z, labels)
    assert list(dz[:7, 0] * 8) == [0, 0, 1, -1, 1, -1, 1]
    np.testing.assert_allclose(losses[:7], np.abs(z[:7, 0] - labels[:7]), rtol=1e-6)
    dz, losses, _ = _run(replace(_spec("huber", isa, dtype, 1, 8), delta=0.5), isa, z, labels)
    np.testing.assert_array_equal(dz[:, 0] * 8, np.array([0, 0, 1e-30, -1e-30, 0.5, -0.25, 0.5, np.nan], dtype))
    np.testing.assert_allclose(losses[4:7], [0.875, 0.03125, 0.125], rtol=1e-6)


def test_first_of_equal_outputs_is_predicted(isa: str) -> None:
    for kind in KINDS:
        spec = _spec(kind, isa, "float32", 40, 3)
        z = np.zeros((3, 40))
        z[0, [7, 8, 25, 39]] = 1
        z[1] = -2
        z[2, 39] = 3
        assert list(_run(spec, isa, z, [0, 1, 2])[2]) == [7, 0, 39]
