"""Tests of CUDA kernels on a CPU: they need g++."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++: CUDA kernels are not emulated")
