"""What a CUDA emitter returns: the text of the `.cu` file, how to launch it, and its facts (docs/cuda.md)."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.errors import ReachError

#: The most dynamic shared memory a launch gets without asking for more.
DEFAULT_SHARED_BYTES = 48 * 1024


@dataclass(frozen=True)
class Launch:
    """One kernel launch. `args` names the op's arguments "a0".."a3" (ABI table) and "workspace", in the kernel's order.

    cluster: blocks along x that see each other's shared memory (sm_90; 1: none).
    """

    kernel: str
    grid: tuple[int, int, int]
    block: int
    shared_bytes: int
    args: tuple[str, ...]
    cluster: int = 1

    def check(self) -> None:
        """Raise ReachError for a grid outside CUDA's limits, ValueError for another launch that cannot be."""
        limits = ((1, 2**31 - 1), (1, 65535), (1, 65535))
        if not all(low <= size <= high for size, (low, high) in zip(self.grid, limits, strict=True)):
            raise ReachError(f"it needs a grid of {self.grid} blocks; at most {tuple(high for _, high in limits)}")
        if self.block % 32 or not 32 <= self.block <= 1024:
            raise ValueError(f"{self.kernel}: a block of {self.block} threads; 32, 64, ... 1024 are possible")
        if self.grid[0] % self.cluster:
            raise ValueError(f"{self.kernel}: grid {self.grid} is no multiple of the cluster, {self.cluster}")


@dataclass(frozen=True)
class Argument:
    """A parameter: position in the op's ABI ("a0".."a3", "workspace"), name, type and layout, direction, note."""

    position: str
    name: str
    layout: str
    direction: str  # "in" | "out" | "in/out"
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What the header and the reports say of an op's kernels."""

    title: str  # op and shapes
    source: str  # the Python file that decides; the template is templates/cuda/<stem of it>.cu.j2 or named beside it
    formula: tuple[str, ...]
    arguments: tuple[Argument, ...]
    flops: int
    bytes_read: int
    bytes_written: int
    tile: str  # what a block and a thread compute
    loops: tuple[str, ...]  # the nest, outermost first, with trip counts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CudaListing:
    """The kernels of one spec: `text` is the .cu file, `launches` run in this order."""

    symbol: str
    dtype: str
    text: str
    launches: tuple[Launch, ...]
    facts: Facts
    workspace_bytes: int = 0
