"""The checks of CUDA kernels on a GPU: `python -m asmgen.harness.cuda.device MODEL...`.

Needs nvcc, NumPy, Jinja and click, but neither NASM nor PeachPy. Cases, reference and bounds are the emulation's;
around every tensor lie bytes that must not change.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from asmgen.cuda.listing import CudaListing
from asmgen.cuda.precision import PRECISIONS
from asmgen.cuda.registry import emit
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.errors import ToolError
from asmgen.harness.compare import Report
from asmgen.harness.cuda.check import check_loaded
from asmgen.harness.cuda.library import CUDA_RUNTIME, entry
from asmgen.harness.cuda.run import CudaFault, CudaKernel, run_launch
from asmgen.harness.library import cache_dir
from asmgen.harness.machine import PlanMemory
from asmgen.harness.steps import TF32_TOLERANCE, compare_steps
from asmgen.model.load import load_model
from asmgen.plan.layout import LINE_BYTES, round_up
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.specs import KernelSpec
from asmgen.reference.initial import initial_parameters
from asmgen.toolchain.nvcc import require_nvcc

Array = np.ndarray[Any, Any]

_GUARD_BYTES = 4096  # before and behind a tensor
_GUARD_BYTE = 0xA5
_FLAGS = ("-std=c++17", "-O3", "-fmad=false", "-arch=native", "-shared", "-Xcompiler=-fPIC", "-x", "cu")


class Device:
    """A library of kernels on the GPU, and the memory they work on."""

    def __init__(self, listings: Sequence[CudaListing]) -> None:
        self.path = _build(_source(listings))
        self.library = ctypes.CDLL(str(self.path))

    def take(self, size: int) -> int:
        """The address of `size` bytes."""
        memory = ctypes.c_void_p()
        self._do("take", ctypes.byref(memory), ctypes.c_size_t(size))
        return int(memory.value or 0)

    def give(self, address: int) -> None:
        self._do("give", ctypes.c_void_p(address))

    def put(self, address: int, content: Array) -> None:
        self._do("put", ctypes.c_void_p(address), ctypes.c_void_p(content.ctypes.data), ctypes.c_size_t(content.nbytes))

    def get(self, address: int, content: Array) -> None:
        self._do("get", ctypes.c_void_p(content.ctypes.data), ctypes.c_void_p(address), ctypes.c_size_t(content.nbytes))

    def buffer(self, contents: Array, align: int = 64, flush: str = "end") -> DeviceBuffer:
        """A tensor, as GuardedBuffer makes it on the host."""
        return DeviceBuffer(self, contents, align, flush)

    def _do(self, what: str, *arguments: Any) -> None:
        call = getattr(self.library, f"device_{what}")
        call.restype = ctypes.c_char_p
        if message := call(*arguments):
            raise CudaFault(f"device memory: {message.decode()}")


class DeviceBuffer:
    """A copy of `contents` in the GPU's memory between two guard zones."""

    def __init__(self, device: Device, contents: Array, align: int, flush: str) -> None:
        content = np.ascontiguousarray(contents).reshape(-1).view(np.uint8)
        self._device, self.size = device, content.size
        room = round_up(self.size, max(align, LINE_BYTES))
        self._first = _GUARD_BYTES + (room - round_up(self.size, align) if flush == "end" else 0)
        self._image = np.full(room + 2 * _GUARD_BYTES, _GUARD_BYTE, np.uint8)
        self._image[self._first : self._first + self.size] = content
        self._base = device.take(self._image.size)
        self.address = self._base + self._first
        device.put(self._base, self._image)

    def __del__(self) -> None:
        if base := getattr(self, "_base", 0):
            self._device.give(base)

    def read(self, dtype: Any) -> Array:
        """A copy of the tensor's elements."""
        self._device.get(self._base, self._image)
        return self._image[self._first : self._first + self.size].copy().view(dtype)

    def stray_writes(self) -> str | None:
        """What was written outside, or None."""
        self._device.get(self._base, self._image)
        before = np.flatnonzero(self._image[: self._first] != _GUARD_BYTE)
        behind = np.flatnonzero(self._image[self._first + self.size :] != _GUARD_BYTE)
        if before.size:
            return f"wrote {self._first - int(before[-1])} B before its start"
        return f"wrote {int(behind[0])} B behind its end" if behind.size else None

    def place_of(self, address: int) -> str | None:
        """A GPU does not say which address was wrong."""
        return None


class DeviceMachine(PlanMemory):
    """The CUDA kernels of a plan on the GPU; the arena goes there and back for every entry."""

    target = CUDA.name

    def __init__(self, plan: Plan, listings: Mapping[str, CudaListing]) -> None:
        super().__init__(plan)
        self._listings = listings
        self._device = Device(list(listings.values()))
        self._arena = self._device.take(plan.arena_bytes)
        self._workspace = self._device.take(max(1, *(listing.workspace_bytes for listing in listings.values())))
        self._uploaded: DeviceBuffer | None = None

    def execute(self, entry: Entry) -> None:
        """Run the launches of one entry."""
        begin = self._base - self._memory.ctypes.data
        arena = self._memory[begin : begin + self.plan.arena_bytes]
        self._device.put(self._arena, arena)
        images = self._device.buffer(self._images)
        places = {None: 0, "images": images.address}
        places |= {name: self._arena + offset for name, offset in self.plan.offsets.items()}
        addresses = {f"a{number}": places[name] for number, name in enumerate(entry.args)}
        addresses["workspace"] = self._workspace
        for launch in self._listings[entry.spec.symbol(self.target)].launches:
            _, broken = run_launch(self._device.library, launch, [addresses[name] for name in launch.args], 0)
            if broken:
                raise AssertionError(f"{launch.kernel}: {broken}")
        self._device.get(self._arena, arena)


def check_on_device(specs: Sequence[KernelSpec], seed: int, precision: str) -> list[Report]:
    """check_cuda_kernels on the GPU of this machine."""
    listings = [emit(spec, precision) for spec in specs]
    device = Device(listings)
    kernels = [CudaKernel(listing, device.library, device.path, device.buffer) for listing in listings]
    return [check_loaded(spec, kernel, seed, precision) for spec, kernel in zip(specs, kernels, strict=True)]


def _source(listings: Sequence[CudaListing]) -> str:
    """One translation unit with all kernels and their entries."""
    entries = [
        f'extern "C" const char* {entry(launch.kernel)}(const call::Launch& launch, void* const* arguments)\n'
        f"{{\n    return call::run(launch, {launch.kernel}, arguments);\n}}\n"
        for listing in listings
        for launch in listing.launches
    ]
    return "\n".join([*(listing.text for listing in listings), '#include "call.cuh"', *entries])


def _build(text: str) -> Path:
    nvcc = require_nvcc()
    sources = [path.read_text() for path in sorted(CUDA_RUNTIME.glob("*.cuh"))]
    digest = hashlib.sha256("\0".join([text, *_FLAGS, *sources]).encode()).hexdigest()[:24]
    target = cache_dir() / f"{digest}-gpu.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        source, library = Path(name) / "kernels.cu", Path(name) / target.name
        source.write_text(text)
        command = [str(nvcc), *_FLAGS, f"-I{CUDA_RUNTIME}", str(source), "-o", str(library)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            errors = [line for line in said.stderr.splitlines() if "error" in line] or ["no message"]
            raise ToolError(f"nvcc refuses the kernels: {errors[0]}")
        os.replace(library, target)
    return target


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default=PRECISIONS[0], show_default=True)
@click.option("--steps", type=click.IntRange(0), default=3, show_default=True, help="Whole training steps; 0: none.")
def main(models: tuple[str, ...], precision: str, steps: int) -> None:
    """Check the kernels of each MODEL, and whole training steps, on this machine's GPU."""
    for path in models:
        model = load_model(path, {})
        plan = plan_for(model, CUDA)
        reports = check_on_device(plan.specs(), 0, precision)
        worst = max(reports, key=lambda report: report.worst)
        click.echo(f"{model.name}  {model.dtype}  {precision}: {len(reports)} kernels agree; ", nl=False)
        click.echo(f"worst {worst.worst:.2f} of its bound ({worst.symbol})")
        if steps:
            listings = {listing.symbol: listing for listing in (emit(spec, precision) for spec in plan.specs())}
            tolerance = TF32_TOLERANCE if precision == "tf32" and model.dtype == "float32" else None
            machine = DeviceMachine(plan, listings)
            found = list(compare_steps(model, machine, initial_parameters(model), steps, tolerance))
            farthest = max(found, key=lambda difference: difference.relative)
            click.echo(f"{model.name}  {model.dtype}  {precision}: {steps} steps agree; ", nl=False)
            click.echo(f"worst {farthest.relative:.1e} of the norm ({farthest.tensor}, step {farthest.step})")


if __name__ == "__main__":
    main()
