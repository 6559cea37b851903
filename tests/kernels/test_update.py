"""The optimizer kernels: every optimizer, with and without weight decay, around the vectors in flight; Adam's error."""

from __future__ import annotations

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.call import call
from asmgen.harness.check import check_kernel
from asmgen.harness.library import load_kernel
from asmgen.kernels.optimizer import update
from asmgen.kernels.optimizer.optimizer_step import LEAST_EPS
from asmgen.plan.specs import Update
from tests.kernels.dense_shapes import DTYPES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_optimizers(kind: str, weight_decay: float, isa: str, dtype: str) -> None:
    for n_vectors in (1, 3, 4, 11):
        spec = Update(kind, dtype, ISAS[isa].lanes(dtype), n_vectors, 0.9, 0.9, 0.999, 1e-8, weight_decay)
        check_kernel(spec, isa, emit=update.emit)


@pytest.mark.parametrize("inv_sqrt", [1.0, 1.0005, 31.7])
@pytest.mark.parametrize("eps", [1e-3, 1e-8, 1e-20])
def test_adams_quotient(eps: float, inv_sqrt: float, isa: str) -> None:
    """m / (sqrt(v) * inv_sqrt + eps) errs by no more than its roundings, for v of every binade.

    They are four, with FMA three. Corrected estimates make no more, but may lose what is below the smallest normal
    number. Beta 1/2 and g = 0 halve the states exactly; a step of 1 from w = 0 shows the quotient.
    """
    per_binade, finfo, lanes = 512, np.finfo(np.float32), ISAS[isa].lanes("float32")
    rng = np.random.default_rng(0)
    binades = np.repeat(np.arange(-126, 128), per_binade)
    v = np.ldexp(rng.uniform(1, 2, binades.size), binades).astype(np.float32)
    v[::per_binade] = np.ldexp(1.0, binades[::per_binade])
    v[1::per_binade] = np.nextafter(v[::per_binade], np.float32(0))  # all ones, or flushed to zero
    v[2::per_binade] = 0
    v[-1] = finfo.max
    m = (rng.uniform(1, 2, v.size) * rng.choice([-1, 1], v.size)).astype(np.float32)
    m[::5] *= finfo.tiny * 1e6
    w, g = np.zeros_like(v), np.zeros_like(v)
    states, hyper = np.stack([m, v]), np.array([1.0, 1.0, inv_sqrt], np.float32)
    spec = Update("adam", "float32", lanes, v.size // lanes, 0.0, 0.5, 0.5, eps)
    kernel = load_kernel(update.emit(spec, ISAS[isa]))
    pointers = [array.ctypes.data for array in (w, g, states, hyper)]
    assert not call(kernel, pointers, 0, spec.n_vectors, isa)
    m, v = states.astype(np.float64)
    assert (v[2::per_binade] == 0).all()
    denominator = np.sqrt(v) * np.float64(hyper[2]) + np.float64(np.float32(eps))
    has_estimates = ISAS[isa].has_mask and eps >= LEAST_EPS
    roundings = 3 if ISAS[isa].has_fma else 4
    bound = 1.01 * roundings * finfo.eps / 2 * np.abs(m / denominator) + finfo.tiny * (1 + has_estimates / denominator)
    assert not (np.abs(-w - m / denominator) > bound).any()
