"""Every kernel of small networks that hold every fusion, emulated; every kernel of every shipped model, compiled."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from asmgen.cuda import registry
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.harness.cuda.library import CUDA_RUNTIME
from asmgen.model.load import load_model
from asmgen.model.network import Model
from asmgen.plan.build import build_plan
from asmgen.plan.policy import Policy
from asmgen.plan.specs import KernelSpec
from asmgen.toolchain import nvcc
from tests.kernels.support import NETWORKS

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.py"))
COMPILED = [("sm_80", "float32"), ("sm_90", "float32"), ("sm_90", "tf32")]


def _specs(models: list[Model]) -> list[KernelSpec]:
    return list(dict.fromkeys(spec for model in models for spec in plan_for(model, CUDA).specs()))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_kernel_of_the_small_networks(network: Model) -> None:
    check_cuda_kernels(_specs([network]))


@pytest.mark.parametrize("network", NETWORKS[::3], ids=lambda network: network.name)
def test_every_kernel_of_small_networks_in_float64(network: Model) -> None:
    check_cuda_kernels(_specs([replace(network, dtype="float64")]))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_kernel_of_the_shipped_models(path: Path) -> None:
    """At their own shapes, with a batch of one."""
    check_cuda_kernels(_specs([replace(load_model(path), batch_size=1)]))


def test_plans_hold_nothing_else() -> None:
    """Whatever the plans of the CPU fuse or leave out, those for CUDA keep to the ops that have kernels here."""
    plans = [plan_for(model, CUDA) for model in (*map(load_model, MODELS), *NETWORKS)]
    plans.append(build_plan(NETWORKS[6], CUDA.lanes("float32"), Policy(dense_steps="stored")))
    assert {type(spec) for plan in plans for spec in plan.specs()} == registry.OPS
    assert {plan.entries[0].text for plan in plans} == {"load_input"}


@pytest.mark.parametrize(("arch", "precision"), COMPILED, ids=["-".join(pair) for pair in COMPILED])
def test_nvcc_compiles_every_kernel_of_the_shipped_models(arch: str, precision: str, tmp_path: Path) -> None:
    compiler = nvcc.find_nvcc()
    if compiler is None:
        pytest.skip("no nvcc: CUDA source is not compiled for GPUs")
    listings = [registry.emit(spec, precision) for spec in _specs([load_model(path) for path in MODELS])]
    source = tmp_path / "kernels.cu"
    source.write_text("\n".join({listing.symbol: listing.text for listing in listings}.values()))
    strict = ["--Werror", "all-warnings", "-cubin", "-o", str(tmp_path / "kernels.cubin"), f"-I{CUDA_RUNTIME}"]
    said = subprocess.run(
        [compiler, "-std=c++17", "-O3", "-fmad=false", f"-arch={arch}", *strict, str(source)],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr[-3000:]
