"""The optimizer kernels: every optimizer, with and without weight decay, around the four vectors in flight."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels import update
from asmgen.plan.specs import Update
from tests.kernels.dense_shapes import DTYPES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_optimizers(kind: str, weight_decay: float, isa: str, dtype: str) -> None:
    for n_vectors in (1, 3, 4, 11):
        spec = Update(kind, dtype, ISAS[isa].lanes(dtype), n_vectors, 0.9, 0.9, 0.999, 1e-8, weight_decay)
        check_kernel(spec, isa, emit=update.emit)
