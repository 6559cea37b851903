"""Every kernel of every shipped model, at its own shapes with a small batch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.model.load import load_model
from asmgen.plan.build import build_plan
from asmgen.plan.policy import Policy
from asmgen.plan.specs import KernelSpec
from asmgen.tile.input.pixel_strip import reads_pixels

BATCH = 2
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.py"))
OPTIONS = {
    "mnist_mlp": [{"optimizer": name} for name in ("sgd", "momentum", "adam")],
    "lenet": [{"pool": name} for name in ("max", "avg")],
}


@cache
def model_specs(path: Path, lanes: int) -> dict[KernelSpec, None]:
    """The distinct kernels of a model, of all its options together."""
    found: dict[KernelSpec, None] = {}
    for options in OPTIONS.get(path.stem, [{}]):
        model = load_model(path, options)
        plan = build_plan(replace(model, batch_size=BATCH), lanes, Policy(reads_pixels=reads_pixels))
        found.update(dict.fromkeys(plan.specs()))
    return found


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_kernel_of_the_model(isa: str, path: Path) -> None:
    dtype = load_model(path).dtype
    specs = model_specs(path, ISAS[isa].lanes(dtype))
    assert specs
    for spec in specs:
        check_kernel(spec, isa)
