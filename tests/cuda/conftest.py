"""Tests of CUDA kernels on a CPU: they need g++."""

from __future__ import annotations

import pytest

from asmgen.harness.cuda_library import has_compiler


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if not has_compiler():
        pytest.skip("no g++: CUDA kernels are not emulated")
