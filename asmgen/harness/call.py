"""Calls a kernel under supervision (checkcall.asm) and names every rule of the ABI it broke."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from asmgen.harness.library import load_library
from asmgen.toolchain.cpu import cpu_features

#: FTZ, DAZ, all exceptions masked, round to nearest: what the trainer runs under.
TRAINER_MXCSR = 0x9FC0
_MXCSR_FLAGS = 0x3F  # sticky exception flags, which arithmetic may set

_REGISTERS = ("rbx", "rbp", "r12", "r13", "r14", "r15")
_SENTINELS = tuple(0xB0B0B0B0B0B0B0B1 + i for i in range(6))
_DF = 0x400
_TIME_LIMIT_SECONDS = 120
_UPPER_HALVES = {0x04: "bits 128..255 of ymm0..15", 0x40: "bits 256..511 of zmm0..15"}


class _Frame(ctypes.Structure):
    """`struc frame` of checkcall.asm."""

    _fields_ = (
        ("fn", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
        ("mxcsr", ctypes.c_uint32),
        ("poison", ctypes.c_uint32),
        ("read_xinuse", ctypes.c_uint32),
        ("caller_mxcsr", ctypes.c_uint32),
        ("registers", ctypes.c_uint64 * 6),
        ("rsp_shift", ctypes.c_uint64),
        ("rflags", ctypes.c_uint64),
        ("xinuse", ctypes.c_uint64),
        ("canaries", ctypes.c_uint64),
        ("time_limit", ctypes.c_uint64),
        ("signal", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("fault_rip", ctypes.c_uint64),
    )


class KernelFault(Exception):
    """The kernel did not return: a signal ended it at `offset` from its start, touching `address`."""

    def __init__(self, number: int, address: int, offset: int) -> None:
        super().__init__(f"{signal.Signals(number).name} at +{offset:#x}")
        self.is_timeout = number == signal.SIGALRM
        self.touched_memory = number in (signal.SIGSEGV, signal.SIGBUS)
        self.address = address
        self.offset = offset


@cache
def _trampolines() -> ctypes.CDLL:
    return load_library([Path(__file__).with_name("checkcall.asm").read_text()])


@cache
def _has_xinuse() -> bool:
    return "xgetbv1" in cpu_features()


def call(fn: int, pointers: Sequence[int], begin: int, end: int, isa: str, *, poison: bool = True) -> list[str]:
    """Call the kernel at address `fn` with up to four pointers and a slice; returns the broken rules, best none.

    poison: enter with NaN bits in every vector and mask register. Without, enter with clean upper halves and
    require that they are clean afterwards (a missing vzeroupper), where the CPU can tell. Raises KernelFault.
    """
    padded = [*pointers, *[0xBAD0_BAD0_BAD0_BAD0] * (4 - len(pointers))]
    frame = _Frame(
        fn=fn,
        mxcsr=TRAINER_MXCSR,
        poison=int(poison),
        read_xinuse=int(_has_xinuse()),
        time_limit=_TIME_LIMIT_SECONDS,
    )
    frame.args[:] = [*padded, begin, end]
    getattr(_trampolines(), f"checked_call_{isa}")(ctypes.byref(frame))
    if frame.signal:
        raise KernelFault(frame.signal, frame.fault_address, frame.fault_rip - fn)

    broken = [
        f"{name} changed: {value:#x} after the call"
        for name, value, sentinel in zip(_REGISTERS, frame.registers, _SENTINELS, strict=True)
        if value != sentinel
    ]
    if frame.rsp_shift:
        broken.append(f"rsp is off by {ctypes.c_int64(frame.rsp_shift).value} B after the call")
    if frame.canaries:
        broken.append(f"{frame.canaries} of the caller's stack words were overwritten")
    if frame.rflags & _DF:
        broken.append("DF is set after the call")
    if (frame.mxcsr ^ TRAINER_MXCSR) & ~_MXCSR_FLAGS:
        broken.append(f"MXCSR changed: {frame.mxcsr:#x}, entered with {TRAINER_MXCSR:#x}")
    if not poison and frame.read_xinuse and isa != "sse41":
        broken += [
            f"{what} are in use after the call: vzeroupper is missing"
            for bit, what in _UPPER_HALVES.items()
            if frame.xinuse & bit
        ]
    return broken
