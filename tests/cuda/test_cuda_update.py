"""The optimizer kernels: every optimizer, with and without weight decay; less and more than one block."""

from __future__ import annotations

import pytest

from asmgen.cuda.target import CUDA
from asmgen.harness.cuda_check import check_cuda_kernels
from asmgen.plan.specs import Update

KINDS = ("sgd", "momentum", "nesterov", "adam", "adamw")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers(dtype: str) -> None:
    lanes = CUDA.lanes(dtype)
    check_cuda_kernels(
        [
            Update(kind, dtype, lanes, n_vectors, 0.9, 0.9, 0.999, 1e-8, weight_decay)
            for kind in KINDS
            for n_vectors, weight_decay in ((1, 0.0), (67, 0.01))
        ]
    )
