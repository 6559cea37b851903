"""Every kernel of the small networks, for every level and dtype; every op must occur."""

from __future__ import annotations

import pytest

from asmgen.harness.check import check_kernel
from asmgen.kernels import registry
from asmgen.plan.specs import KernelSpec
from tests.kernels.support import every_spec

OPS = sorted(registry._EMITTERS, key=lambda op: op.__name__)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", OPS)
def test_every_kernel(isa: str, dtype: str, op: type[KernelSpec]) -> None:
    kernels = [spec for spec in every_spec(isa, dtype) if type(spec) is op]
    assert kernels, f"no network of support.py has a {op.__name__} kernel"
    for spec in kernels:
        check_kernel(spec, isa)
