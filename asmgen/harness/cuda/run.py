"""Runs the launches of a CUDA listing over a case, in the emulation, and says what they did wrong."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from asmgen.cuda.listing import CudaListing, Launch
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.cases.case import Array, Case, Operand
from asmgen.harness.compare import same_bits
from asmgen.harness.cuda.library import entry, source_line

_SECONDS = 120
_ALIGN = 16
_NOT_GIVEN = 0xBAD0_BAD0_BAD0_BAD0


class Buffer(Protocol):
    """A tensor in memory that a kernel works on; buffers.GuardedBuffer is one."""

    address: int

    def read(self, dtype: Any) -> Array: ...

    def stray_writes(self) -> str | None: ...

    def place_of(self, address: int) -> str | None: ...


MakeBuffer = Callable[[Array, int, str], Buffer]  # contents, alignment, flush


def _align(operand: Operand) -> int:
    """Indices and labels begin where the batch does, inside the epoch's order; all else as the device allocates."""
    return 4 if operand.before.dtype == np.uint32 else max(operand.align, _ALIGN)


class CudaFault(Exception):
    """A kernel was stopped; nothing else of the case can be judged."""


class LaunchRequest(ctypes.Structure):
    """`struct Launch` of runtime/cuda/emulation/grid.hpp."""

    _fields_ = (
        ("grid", ctypes.c_int32 * 3),
        ("block", ctypes.c_int32),
        ("shared_bytes", ctypes.c_int32),
        ("cluster", ctypes.c_int32),
        ("seed", ctypes.c_uint32),
        ("seconds", ctypes.c_int32),
        ("fault_address", ctypes.c_uint64),
        ("fault_offset", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Variant:
    """A way to run a case; all of them must give the same bits."""

    what: str
    seed: int  # of the order of blocks and threads
    flush: str = "end"  # which guard page the tensors touch
    in_place: bool = False


def run_launch(
    library: ctypes.CDLL, launch: Launch, pointers: Sequence[int], seed: int
) -> tuple[LaunchRequest, str | None]:
    """Run one launch over these addresses -> the request, with what a signal left there; what went wrong."""
    given = LaunchRequest((*launch.grid,), launch.block, launch.shared_bytes, launch.cluster, seed, _SECONDS)
    call = library[entry(launch.kernel)]
    call.restype = ctypes.c_char_p
    message = call(ctypes.byref(given), (ctypes.c_uint64 * len(pointers))(*pointers))
    return given, message.decode() if message else None


class CudaKernel:
    """The launches of one listing in a loaded library."""

    def __init__(
        self, listing: CudaListing, library: ctypes.CDLL, path: Path, make_buffer: MakeBuffer = GuardedBuffer
    ) -> None:
        self.listing, self.library, self.path, self.make_buffer = listing, library, path, make_buffer

    def run(self, case: Case, variant: Variant) -> tuple[list[Array], list[str]]:
        """Fresh memory, all launches -> memory after them, broken rules. Raises CudaFault."""
        buffers = [
            self.make_buffer(operand.before, _align(operand), variant.flush) if operand else None
            for operand in case.operands
        ]
        if variant.in_place and case.in_place:
            source, target = case.in_place
            buffers[target] = buffers[source]
        workspace = self.make_buffer(np.full(self.listing.workspace_bytes, 0xFF, np.uint8), _ALIGN, variant.flush)
        places = {f"a{i}": buffer for i, buffer in enumerate(buffers)} | {"workspace": workspace}
        names = [operand.name if operand else "unused" for operand in case.operands] + ["workspace"]
        for launch in self.listing.launches:
            pointers = [buffer.address if (buffer := places[name]) else _NOT_GIVEN for name in launch.args]
            given, message = run_launch(self.library, launch, pointers, variant.seed)
            if message:
                raise CudaFault(self._describe(launch.kernel, message, given, [*buffers, workspace], names))
        return self._after(case, variant, buffers, workspace)

    def _after(
        self, case: Case, variant: Variant, buffers: Sequence[Buffer | None], workspace: Buffer
    ) -> tuple[list[Array], list[str]]:
        problems: list[str] = []
        memory = []
        target = buffers[case.in_place[1]] if variant.in_place and case.in_place else None
        for operand, buffer in zip(case.operands, buffers, strict=True):
            if operand is None or buffer is None:
                memory.append(np.zeros(0))
                continue
            memory.append(buffer.read(operand.before.dtype))
            if stray := buffer.stray_writes():
                problems.append(f"{operand.name}: {stray}")
            if not operand.is_output and buffer is not target and not same_bits(memory[-1], operand.before):
                problems.append(f"{operand.name}: an input was written")
        if stray := workspace.stray_writes():
            problems.append(f"workspace: {stray}")
        return memory, problems

    def _describe(
        self,
        kernel: str,
        message: str,
        given: LaunchRequest,
        buffers: Sequence[Buffer | None],
        names: Sequence[str],
    ) -> str:
        """The emulation's message, with the line of the text and the tensor that a signal names."""
        text = f"{kernel}: {message}"
        if given.fault_address:
            places = [
                f"{name}, {place}"
                for name, buffer in zip(names, buffers, strict=True)
                if buffer and (place := buffer.place_of(given.fault_address))
            ]
            text += f": {places[0] if places else hex(given.fault_address)}"
        if given.fault_offset and (line := source_line(self.path, given.fault_offset)):
            text += f" ({line})"
        return text
