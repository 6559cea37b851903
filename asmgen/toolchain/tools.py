"""The programs and modules that asmgen uses: how to find each, what works without it, how to install it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from asmgen.errors import ToolError
from asmgen.toolchain.nvcc import INSTALL as NVCC_INSTALL
from asmgen.toolchain.nvcc import nvcc_version

_SETUP = "make setup"
_TORCH = "make setup; if pip finds no CPU build: make setup TORCH='torch==2.13.0 --index-url URL' (docs/setup.md)"


@dataclass(frozen=True)
class Tool:
    """`find()` gives the version, or None if the tool is missing; `without` says what that costs."""

    name: str
    find: Callable[[], str | None]
    without: str
    install: str
    needed_to_build: bool = False


def _apt(package: str) -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {package}"


def _program(name: str, *version_args: str) -> Callable[[], str | None]:
    """Finds a program on PATH; its version is the last number with a dot on the first line that has one."""

    def find() -> str | None:
        path = shutil.which(name)
        if path is None:
            return None
        try:
            said = subprocess.run([path, *version_args], capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        numbers = re.findall(
            r"\d+(?:\.\d+)+", next((line for line in said.splitlines() if re.search(r"\d\.\d", line)), "")
        )
        return numbers[-1] if numbers else "unknown version"

    return find


def _distribution(name: str) -> Callable[[], str | None]:
    """Finds an installed Python distribution without the seconds that importing PyTorch takes."""

    def find() -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return find


def _peachpy() -> str | None:
    """PyPI's `peachpy` is for Python 2 and fails to import; only a version that imports counts."""
    try:
        importlib.import_module("peachpy.x86_64")
    except (ImportError, SyntaxError):
        return None
    return _distribution("PeachPy")() or "unknown version"


def _nvidia_driver() -> str | None:
    """Its version, with the GPUs that it sees: "580.95 (NVIDIA H200, compute capability 9.0)"."""
    query = ["nvidia-smi", "--query-gpu=driver_version,name,compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return _loaded_driver()
    gpus = [fields for line in said.splitlines() if len(fields := line.split(", ")) == 3]
    seen = ", ".join(f"{name}, compute capability {capability}" for _, name, capability in gpus)
    return f"{gpus[0][0]} ({seen})" if gpus else _loaded_driver()


def _loaded_driver() -> str | None:
    """The version of the kernel's module."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found.group() if found else "unknown version"


TOOLS: tuple[Tool, ...] = (
    Tool("nasm", _program("nasm", "-v"), "nothing can be assembled", _apt("nasm"), needed_to_build=True),
    Tool("ld", _program("ld", "--version"), "nothing can be linked", _apt("binutils"), needed_to_build=True),
    Tool("python", platform.python_version, "nothing works", _apt("python3"), needed_to_build=True),
    Tool(
        "peachpy",
        _peachpy,
        "no kernel can be generated",
        f"{_apt('python3-peachpy')}; then {_SETUP} (a venv of /usr/bin/python3 with --system-site-packages)",
        needed_to_build=True,
    ),
    Tool("numpy", _distribution("numpy"), "nothing can be built or checked", _SETUP, needed_to_build=True),
    Tool("jinja2", _distribution("jinja2"), "no source can be written", _SETUP, needed_to_build=True),
    Tool("click", _distribution("click"), "the command line does not start", _SETUP, needed_to_build=True),
    Tool("pillow", _distribution("pillow"), "no `asmgen data import` and no `asmgen data synth`", _SETUP),
    Tool("matplotlib", _distribution("matplotlib"), "no `train --curves` and no `profile --picture`", _SETUP),
    Tool("torch", _distribution("torch"), "no `asmgen bench --against torch`; parity tests are skipped", _TORCH),
    Tool("safetensors", _distribution("safetensors"), "tests that exchange weights are skipped", _SETUP),
    Tool("qemu-x86_64", _program("qemu-x86_64", "--version"), "tests on older CPUs are skipped", _apt("qemu-user")),
    Tool("nvcc", nvcc_version, "CUDA source cannot be compiled", NVCC_INSTALL),
    Tool("g++", _program("g++", "--version"), "CUDA source cannot run on a CPU; nvcc does not work", _apt("g++")),
    Tool("GPU driver", _nvidia_driver, "CUDA trainers do not run here", _apt("nvidia-driver")),
)


def missing_module_error(module: str) -> ToolError | None:
    """The error for `import module` failing on this machine; None if the module is not one of TOOLS."""
    package = module.partition(".")[0]
    name = {"PIL": "pillow"}.get(package, package)
    for tool in TOOLS:
        if tool.name == name:
            return ToolError(f"Python module {package} is missing: {tool.without}; install it: {tool.install}")
    return None


def require_module(module: str) -> None:
    """Raises ToolError where a module of TOOLS is missing: before the work whose result needs it."""
    if not find_spec(module) and (error := missing_module_error(module)):
        raise error


def find_program(name: str) -> str:
    """The path of a program of TOOLS.

    Raises ToolError with what its absence costs and the command that installs it.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    tool = next(tool for tool in TOOLS if tool.name == name)
    raise ToolError(f"{name} is missing: {tool.without}; install it: {tool.install}")
