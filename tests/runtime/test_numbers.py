"""Decimal text in and out, called in the runtime's own objects: every value is rounded correctly."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable
from decimal import Decimal

import pytest

from asmgen.paths import RUNTIME_DIR
from asmgen.toolchain.link import link_shared
from asmgen.toolchain.nasm import Source, assemble_all

STUBS = """
global progress_clear, temporary_remove, process_exit
section .note.GNU-stack noalloc noexec nowrite progbits
section .text
progress_clear:
temporary_remove:
process_exit:
    ret
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "stubs.asm").write_text(STUBS)
    names = ("decimal", "print_real", "format", "output", "errno")
    files = [folder / "stubs.asm", *(RUNTIME_DIR / f"{name}.asm" for name in names)]
    objects = assemble_all([Source(file, folder / f"{file.stem}.o", (RUNTIME_DIR,)) for file in files])
    link_shared(objects, folder / "numbers.so")
    return ctypes.CDLL(str(folder / "numbers.so"))


@pytest.fixture(scope="module")
def printed(library: ctypes.CDLL) -> Callable[..., str]:
    """printed(format, values): floats are passed as their bits, text as its address."""
    taken = ctypes.create_string_buffer(4352)

    def call(text: str, *values: float | int | bytes) -> str:
        kept = [ctypes.c_char_p(value) if isinstance(value, bytes) else value for value in values]
        qwords = (ctypes.c_uint64 * (len(values) or 1))()
        for index, value in enumerate(kept):
            if isinstance(value, ctypes.c_char_p):
                qwords[index] = ctypes.cast(value, ctypes.c_void_p).value or 0
            else:
                qwords[index] = struct.unpack("Q", struct.pack("d" if isinstance(value, float) else "Q", value))[0]
        library.print_format(text.encode(), qwords)
        library.print_take(taken)
        return taken.value.decode()

    return call


def test_parse(library: ctypes.CDLL) -> None:
    library.decimal_parse.restype = ctypes.c_uint64
    source = random.Random(0)
    texts = ["0", "0.0", "1", "1.", ".5", "+2", "00012.50", "1e0", "1E+2", "0.1e-1", "5e-99", "1e99"]
    texts += [repr(source.uniform(0, 10) * 10.0 ** source.randrange(-8, 8)) for _ in range(3000)]
    texts += [f"{source.randrange(10**19)}e{source.randrange(-45, 28)}" for _ in range(3000)]
    texts += [f"{source.randrange(2**53, 2**54)}.5" for _ in range(100)]  # ties
    for text in texts:
        bits = library.decimal_parse(text.encode())
        assert struct.unpack("d", struct.pack("Q", bits))[0] == float(text), text


def test_fixed(printed: Callable[..., str]) -> None:
    source = random.Random(1)
    values = [0.0, 0.5, 1 / 32, 3 / 32, 0.00005, 0.00015, 0.99995, 9.99995, 123456.78125, 1e-30, 999999999.99999]
    values += [source.uniform(0, 10.0 ** source.randrange(-5, 9)) for _ in range(3000)]
    values += [source.randrange(10**6) / 2 ** source.randrange(20) for _ in range(1000)]
    for value in values:
        assert printed("%f", value) == f"{value:.4f}", value.hex()
        assert printed("%f", -value / 2) == f"{-value / 2:.4f}", value.hex()


def test_general(printed: Callable[..., str]) -> None:
    source = random.Random(2)
    values = [
        1.0,
        10.0,
        0.1,
        0.005,
        1e-5,
        9.99999999999e-6,
        123456789012.0,
        999999999999.5,
        1e12,
        1e100,
        1e-100,
        2.3e-308,
    ]
    values += [10.0**power for power in range(-27, 28)]
    values += [source.uniform(1, 10) * 10.0 ** source.randrange(-20, 20) for _ in range(5000)]
    for value in values:
        text = printed("%g", value)
        exact = Decimal(value)
        if abs(exact.adjusted()) < 16:  # 10^27 is the last power of ten that decimal.asm has exactly
            assert Decimal(text) == exact.quantize(Decimal(1).scaleb(exact.adjusted() - 11)), value
        assert float(text) == pytest.approx(value, rel=1e-11)
    forms = [printed("%g", value) for value in (0.0, 0.005, 100.0, -0.25, 1e-7, 1.5e20)]
    assert forms == ["0", "0.005", "100", "-0.25", "1e-07", "1.5e+20"]
    assert [printed("%g", float(text)) for text in ("nan", "-nan", "inf", "-inf")] == ["nan", "nan", "inf", "-inf"]
    assert printed("%f", float("-nan")) == "nan"


def test_other_directives(printed: Callable[..., str]) -> None:
    assert printed("a%%b %s|%u|%w|%l|%S", b"text", 2**64 - 1, 5, 42, 6, b"cat", b"abcdef", 3) == (
        "a%b text|18446744073709551615|   42|cat   |abc"
    )
    assert printed("%p %p %p %p", 9812, 10000, 0, 0, 1, 3, 7, 7) == "98.12% - 33.33% 100.00%"
    assert printed("%x %m %m %m", 0xDEADBEEF, 1, 61_249_999, 61_250_001) == "deadbeef 0.0 61.2 61.3"
    assert printed("%e, %e", 2**64 - 28, 2**64 - 200) == "no space left on the device, system call failed"


def test_long_text_is_cut_not_overrun(printed: Callable[..., str]) -> None:
    assert len(printed("%s%s", b"x" * 20_000, b"y")) == 4351
