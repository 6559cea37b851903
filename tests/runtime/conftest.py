"""Trainers of the linear model, each built once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.linear import Data, Linear

Build = Callable[[Linear], Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(model) -> its trainer."""
    if shutil.which("nasm") is None:
        pytest.skip("nasm is not installed")
    built: dict[Linear, Path] = {}

    def build_once(model: Linear) -> Path:
        if model not in built:
            built[model] = model.build(tmp_path_factory.mktemp("trainer"))
        return built[model]

    return build_once


@pytest.fixture(scope="session")
def trainer(build: Build) -> Path:
    return build(Linear())


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of Linear() on disk."""
    return Data.make(Linear()).write(tmp_path_factory.mktemp("data"))
