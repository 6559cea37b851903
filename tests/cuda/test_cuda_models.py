"""Every kernel of small networks that hold every fusion, emulated; every kernel of every shipped model, compiled."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from asmgen.cuda import registry
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.harness.cuda_check import check_cuda_kernels
from asmgen.harness.cuda_library import CUDA_RUNTIME
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.plan.specs import KernelSpec
from asmgen.toolchain import nvcc
from tests.kernels.support import NETWORKS

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.py"))


def _specs(models: list[Model]) -> list[KernelSpec]:
    planned = dict.fromkeys(spec for model in models for spec in plan_for(model, CUDA).specs())
    return [spec for spec in planned if type(spec) in registry._STREAMING | registry._PRODUCTS]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_kernel_of_the_small_networks(network: Model, dtype: str) -> None:
    check_cuda_kernels(_specs([replace(network, dtype=dtype)]))


@pytest.mark.parametrize("arch", nvcc.DEFAULT_ARCHES)
def test_nvcc_compiles_every_kernel_of_the_shipped_models(arch: str, tmp_path: Path) -> None:
    compiler = nvcc.find_nvcc()
    if compiler is None:
        pytest.skip("no nvcc: CUDA source is not compiled for GPUs")
    listings = [registry.emit(spec) for spec in _specs([load_model(path) for path in MODELS])]
    text = "\n".join({listing.symbol: listing.text for listing in listings}.values())
    source = tmp_path / "kernels.cu"
    source.write_text(text)
    strict = ["--Werror", "all-warnings", "-cubin", "-o", str(tmp_path / "kernels.cubin"), f"-I{CUDA_RUNTIME}"]
    said = subprocess.run(
        [compiler, "-std=c++17", "-O3", "-fmad=false", f"-arch={arch}", *strict, str(source)],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr[-3000:]
