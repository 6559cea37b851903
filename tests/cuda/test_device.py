"""The checks on a GPU: they compile everywhere, and check where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from asmgen.cuda.registry import emit
from asmgen.harness.cuda.device import Device, check_on_device
from asmgen.harness.cuda.run import CudaFault
from asmgen.plan.specs import Update
from asmgen.toolchain.nvcc import find_nvcc

SPEC = Update("momentum", "float32", 16, 5, momentum=0.9)


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")
def test_kernels_are_called_on_the_gpu_or_it_is_said_that_there_is_none() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        (report,) = check_on_device([SPEC], 0, "float32")
        assert report.n_values > 0
    else:
        device = Device([emit(SPEC, "float32")])
        with pytest.raises(CudaFault, match="device memory: .*driver"):
            device.take(64)
