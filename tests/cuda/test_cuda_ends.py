"""What begins and ends a step: gathered images, losses and predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asmgen.cuda.registry import emit
from asmgen.cuda.target import CUDA
from asmgen.harness.cases.case import Array, Case, Operand
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.harness.cuda.library import load_library
from asmgen.harness.cuda.run import CudaKernel, Variant
from asmgen.plan.layout import NO_HALO, Halo, Image, Rows
from asmgen.plan.specs import LoadInput, Loss, Probabilities
from tests.kernels.test_loss import KINDS, fits, loss_of

DTYPES = ["float32", "float64"]


def _input(
    shape: tuple[int, int, int], dtype: str, *, rows: bool = False, halo: Halo = NO_HALO, per_channel: bool = False
) -> LoadInput:
    c, h, w = shape
    scale, shift = (1 / 255,) * c, (0.0,) * c
    if per_channel:
        scale, shift = tuple((i + 1) / 255 for i in range(c)), tuple(-0.5 * (i + 1) for i in range(c))
    dst = Rows(3, c * h * w, CUDA.lanes(dtype), dtype) if rows else Image(3, c, h, w, 1, dtype, halo)
    return LoadInput(c, h, w, dst, scale, shift)


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_input(dtype: str) -> None:
    """Pixels one by one and four at a time; padding of rows; channels that share their constants, or do not."""
    specs = [_input((1, 28, 28), dtype, rows=True), _input((3, 9, 11), dtype, halo=Halo(1, 2, 3, 1), per_channel=True)]
    for shape in ((1, 1, 1), (3, 7, 9), (5, 2, 6), (3, 4, 4)):
        for per_channel in (False, True):
            specs += [_input(shape, dtype, rows=True, per_channel=per_channel)]
            specs += [_input(shape, dtype, halo=halo, per_channel=per_channel) for halo in (NO_HALO, Halo(1, 1, 0, 0))]
    for uniform in (False, True):  # scale and shift are in the text, and not in the name
        chosen = [spec for spec in specs if (len(set(spec.scale)) == 1) == uniform]
        check_cuda_kernels(list({spec.stem(): spec for spec in chosen}.values()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_input_in_blocks(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    for per_channel in (False, True):
        specs = []
        for c in (1, 3, lanes, 2 * lanes + 3):
            spec = _input((c, 3, 5), dtype, halo=Halo(1, 2, 3, 1) if c % 2 else NO_HALO, per_channel=per_channel)
            assert isinstance(spec.dst, Image)
            specs.append(replace(spec, dst=replace(spec.dst, block=lanes)))
        check_cuda_kernels(specs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    rows = [Rows(5, outputs, lanes, dtype) for outputs in (1, 2, 10, 16, 17, 35, 256)]
    rows += [Rows(n, 10, lanes, dtype) for n in (1, 33, 1030)]
    for c, h, w in ((3, 1, 1), (17, 1, 3), (5, 2, 2)):
        rows.append(Rows(3, c * h * w, lanes, dtype, Image(3, c, h, w, lanes, dtype)))
    specs = [loss_of(kind, z) for kind in KINDS for z in rows if fits(kind, z.features)]
    check_cuda_kernels([*specs, *(replace(spec, gradient=False) for spec in specs)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    rows = [Rows(5, outputs, lanes, dtype) for outputs in (1, 10, 17, 35, 256)] + [Rows(1030, 10, lanes, dtype)]
    rows += [Rows(3, c * h * w, lanes, dtype, Image(3, c, h, w, lanes, dtype)) for c, h, w in ((3, 1, 1), (17, 1, 3))]
    check_cuda_kernels([Probabilities(kind, z) for kind in ("softmax", "sigmoid") for z in rows])


def _run(specs: list[Loss], spec: Loss, z: Array, labels: list[int]) -> tuple[Array, Array, Array]:
    """dz, losses, preds of a full batch; `specs` are compiled together."""
    n, dtype = spec.z.n, spec.z.dtype
    block = np.zeros(spec.preds_offset_bytes + 4 * n, np.uint8)
    block[: spec.z.element_bytes].view(dtype)[:] = 1 / n
    block[8:12].view(np.uint32)[:] = n
    operands = [Operand("z", spec.z.pack(z)), Operand("labels", np.array(labels, np.uint32), align=4)]
    operands += [Operand("dz", spec.z.pack(z), is_output=True), Operand("block", block, is_output=True)]
    kernel = CudaKernel(emit(spec), *load_library([emit(each) for each in specs]))
    memory, problems = kernel.run(Case("", tuple(operands), ()), Variant("", 1))
    assert not problems
    losses = memory[3][spec.losses_offset_bytes :][: n * spec.z.element_bytes].copy().view(dtype)
    return spec.z.unpack(memory[2]), losses, memory[3][spec.preds_offset_bytes :].copy().view(np.uint32)


def test_nan_reaches_the_loss_and_the_first_of_equal_outputs_is_predicted() -> None:
    lanes = CUDA.lanes("float32")
    specs = [loss_of(kind, Rows(outputs + 1, outputs, lanes, "float32")) for kind in KINDS for outputs in (2, 40)]
    for spec in specs:
        outputs = spec.z.features
        z = np.linspace(-1, 1, spec.z.n * outputs).reshape(spec.z.n, outputs)
        z[np.arange(outputs), np.arange(outputs)] = np.nan
        _, losses, preds = _run(specs, spec, z, [0] * spec.z.n)
        assert np.isnan(losses[:outputs]).all()
        assert np.isfinite(losses[outputs])
        assert (preds < outputs).all()
        z = np.zeros((spec.z.n, outputs))
        z[0, 1::7] = 1
        z[1] = -2
        assert list(_run(specs, spec, z, [0] * spec.z.n)[2][:3]) == [1, 0, 0]


def test_extreme_logits() -> None:
    """Huge logits give finite losses and slopes; an infinite one a loss that is not finite."""
    spec, binary = (Loss(kind, Rows(4, n, 16, "float32")) for kind, n in (("softmax_ce", 3), ("bce", 1)))
    z = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [0, np.inf, 0], [5, -np.inf, 5]])
    dz, losses, preds = _run([spec, binary], spec, z, [0, 1, 0, 2])
    assert losses[0] == 0
    np.testing.assert_allclose(losses[[1, 3]], [np.log(3), np.log(2)], rtol=1e-6)
    assert np.isnan(losses[2])
    assert np.isfinite(dz[[0, 1, 3]]).all()
    assert list(preds[[0, 1, 3]]) == [0, 0, 0]
    dz, losses, _ = _run([spec, binary], binary, np.array([[1e30], [-1e30], [50.0], [-50.0]]), [1, 0, 1, 1])
    np.testing.assert_allclose(losses, [0, 0, np.exp(-50), 50], rtol=1e-6)
    np.testing.assert_allclose(dz[:, 0] * 4, [0, 0, -np.exp(-50), -1], rtol=1e-6)
