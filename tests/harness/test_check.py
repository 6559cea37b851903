"""The harness must notice every way to break a kernel: a ReLU kernel is right, then spoiled line by line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import peachpy.x86_64 as x86
import pytest

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import AVX2, ISAS, Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.harness import check
from asmgen.harness.buffers import PAGE, GuardedBuffer
from asmgen.harness.check import check_kernel
from asmgen.harness.compare import KernelError, parse_spec
from asmgen.harness.peak import kernel_rate, measure
from asmgen.plan.layout import Halo, Image, Rows
from asmgen.plan.specs import ActForward, Activation

RELU = Activation("relu")


def emit(spec: ActForward, isa: Isa) -> Listing:
    """y = max(x, 0) over whole samples, halo included: its zeros stay zeros."""
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    with asm:
        src, dst = asm.argument(0, "x"), asm.argument(1, "y")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "end")
        zero, value = asm.vec.alloc("zero"), asm.vec.alloc("value")
        asm.v.zero(zero)
        x86.SUB(end, begin)
        x86.IMUL(begin, begin, spec.x.sample_bytes)
        x86.ADD(src, begin)
        x86.ADD(dst, begin)
        with asm.loop("n", "end - begin", end), asm.loop("i", spec.x.sample_bytes // isa.vector_bytes):
            asm.v.load(value, [src])
            asm.v.max(value, value, zero)
            asm.v.store([dst], value)
            x86.ADD(src, isa.vector_bytes)
            x86.ADD(dst, isa.vector_bytes)
    return asm.finish(Facts("relu", __name__, (), (), "samples", spec.flops(), 0, 0, "-"))


def image(isa: Isa, dtype: str = "float32") -> ActForward:
    x = Image(3, 5, 4, 7, isa.lanes(dtype), dtype, Halo(1, 1, 1, 1))
    return ActForward(x, x, RELU)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_kernel_passes(isa: str, dtype: str) -> None:
    for spec in (image(ISAS[isa], dtype), ActForward(*[Rows(4, 10, ISAS[isa].lanes(dtype), dtype)] * 2, RELU)):
        report = check_kernel(spec, isa, emit=emit)
        assert report.n_values > 0
        assert report.worst == 0


def before(*lines: str) -> Callable[[list[str]], list[str]]:
    return lambda listing: [*lines, *listing]


def before_ret(*lines: str) -> Callable[[list[str]], list[str]]:
    return lambda listing: [*listing[:-1], *lines, listing[-1]]


def replace(old: str, new: str) -> Callable[[list[str]], list[str]]:
    def spoil(listing: list[str]) -> list[str]:
        spoiled = [line.replace(old, new) for line in listing]
        assert spoiled != listing
        return spoiled

    return spoil


X_BYTES = image(AVX2).x.size_bytes
SPOILED = {
    "wrong value": (replace("vmaxps", "vminps"), r"y: \d+ of 420 wrong .* expected \(?[\d.]+"),
    "reads a register nobody set": (replace("ymm1, ymm1, ymm0", "ymm1, ymm1, ymm9"), r"NaN\), first at"),
    "does not write all lanes": (replace("[rsi], ymm1", "[rsi], xmm1"), "pad or halo elements are not zero.*nan"),
    "spoils pad lanes": (replace("vmaxps ymm1, ymm1, ymm0", "vcmpeqps ymm1, ymm1, ymm1"), "are not zero"),
    "callee-saved register": (before("    mov r13, 1"), "r13 changed: 0x1 after the call"),
    "direction flag": (before_ret("    std"), "DF is set"),
    "rounding mode": (before("    push 0x7fc0", "    ldmxcsr [rsp]", "    pop rax"), "MXCSR changed: 0x7fc0"),
    "caller's stack": (before("    mov qword [rsp + 16], 0"), "1 of the caller's stack words"),
    "upper halves": (replace("    vzeroupper", "    nop"), "vzeroupper is missing"),
    "reads before": (before("    vmovups ymm5, [rdi - 32]"), "touches x, 32 B before its start"),
    "reads behind": (before(f"    vmovups ymm5, [rdi + {X_BYTES}]"), "`vmovups ymm5.* touches x, 0 B behind its end"),
    "writes an input": (before("    mov dword [rdi + 2048], 0x40400000"), "x: an input was written"),
    "writes for an empty slice": (before("    mov dword [rsi + 2048], 0"), "empty slice: y was written"),
    "ignores begin": (replace("add rsi, r8", "add rsi, 0"), "one unit a call, last first: y has other bits"),
    "depends on the slice": (before_ret("    mov [rsi - 4], r8d"), "y has other bits"),
    "illegal instruction": (before("    ud2"), "SIGILL at .*`ud2`"),
    "loses the stack": (before_ret("    mov rsp, 8"), "SIGSEGV at .*`ret`"),
}


@pytest.mark.isa("avx2")
@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_kernel_fails(what: str) -> None:
    spoil, message = SPOILED[what]

    def emit_spoiled(spec: ActForward, isa: Isa) -> Listing:
        listing = emit(spec, isa)
        return dataclasses.replace(listing, lines=tuple(spoil(list(listing.lines))))

    with pytest.raises(KernelError, match=message) as failure:
        check_kernel(image(AVX2), AVX2, seed=7, emit=emit_spoiled)
    rerun = re.search(r'rerun: python -m asmgen.harness.check "(.*)" avx2 7$', str(failure.value))
    assert rerun is not None
    assert parse_spec(rerun[1]) == image(AVX2)


@pytest.mark.isa("avx2")
def test_a_kernel_that_does_not_return_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asmgen.harness.call._TIME_LIMIT_SECONDS", 1)

    def emit_endless(spec: ActForward, isa: Isa) -> Listing:
        listing = emit(spec, isa)
        return dataclasses.replace(listing, lines=(".forever:", "    jmp .forever", *listing.lines))

    with pytest.raises(KernelError, match="does not return: SIGALRM"):
        check_kernel(image(AVX2), AVX2, emit=emit_endless)


def test_a_check_of_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "build_cases", lambda *args: [])
    with pytest.raises(KernelError, match="nothing was checked"):
        check_kernel(image(ISAS["sse41"]), "sse41", emit=emit)


@pytest.mark.parametrize("flush", ["start", "end"])
@pytest.mark.parametrize("size", [1, 64, 100, PAGE, PAGE + 8])
def test_a_buffer_sees_writes_beside_it(flush: str, size: int) -> None:
    buffer = GuardedBuffer(np.arange(size).astype(np.uint8), 64, flush)
    assert buffer.address % 64 == 0
    assert buffer.stray_writes() is None
    assert buffer.read(np.uint8).tolist() == np.arange(size).astype(np.uint8).tolist()
    assert buffer.place_of(buffer.address + size) == "0 B behind its end"
    assert buffer.place_of(buffer.address - 1) == "1 B before its start"
    if size % 64:
        buffer._bytes[buffer._first + size] = 0
        assert buffer.stray_writes() == "wrote 0 B behind its end"


def test_the_rate_of_a_kernel() -> None:
    assert measure(lambda: None, 0.001) < 1e-3
    rate = kernel_rate(image(ISAS["sse41"]), ISAS["sse41"], 0.001, emit)
    assert rate.seconds > 0
    assert rate.flops_per_second < rate.peak_flops_per_second
