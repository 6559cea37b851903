"""Every width of philox_fill gives the words of asmgen/reference/random.py, wherever in a stream."""

from __future__ import annotations

import ctypes
import shutil

import numpy as np
import pytest

from asmgen.paths import RUNTIME_DIR
from asmgen.reference.random import philox_blocks
from asmgen.toolchain.cpu import cpu_features
from asmgen.toolchain.link import link_shared
from asmgen.toolchain.nasm import Source, assemble_all

SEED, STREAM = 0xFEDCBA9876543210, 0x10003
STATE_BYTES = 4096  # more than a philox has
GROUPS = 6
#: What philox.asm takes from the rest of the runtime.
REST = f"""
default rel
section .note.GNU-stack noalloc noexec nowrite progbits
global opt_seed, cpu_has
section .rodata
opt_seed: dq {SEED}
section .text
cpu_has: ret
"""


@pytest.fixture(scope="module")
def philox(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("nasm") is None:
        pytest.skip("nasm is not installed")
    folder = tmp_path_factory.mktemp("philox")
    (folder / "rest.asm").write_text(REST)
    sources = [RUNTIME_DIR / "philox.asm", RUNTIME_DIR / "philox_wide.asm", folder / "rest.asm"]
    objects = assemble_all([Source(asm, folder / f"{asm.stem}.o", (RUNTIME_DIR,)) for asm in sources])
    link_shared(objects, folder / "philox.so")
    return ctypes.CDLL(str(folder / "philox.so"))


@pytest.mark.parametrize("first", [0, 5, 2**30 - 3, 2**33 + 1], ids=["0", "5", "carry", "high"])
@pytest.mark.parametrize("isa", [("sse41", "sse4_1"), ("avx2", "avx2"), ("avx512", "avx512f")], ids=lambda isa: isa[0])
def test_words(isa: tuple[str, str], first: int, philox: ctypes.CDLL) -> None:
    """`first` counts groups of four blocks: the block's number passes 2^32 at 2^30."""
    name, feature = isa
    if feature not in cpu_features():
        pytest.skip(f"this CPU lacks {feature}")
    state = np.zeros(STATE_BYTES // 16, np.complex128)  # aligned to 16 bytes
    words = np.full(16 * GROUPS + 16, 0xDEADBEEF, np.uint32)
    words = words[(-words.ctypes.data % 64) // 4 :]
    philox.philox_start(ctypes.c_void_p(state.ctypes.data), ctypes.c_uint32(STREAM))
    fill = philox[f"philox_fill_{name}"]
    fill(*map(ctypes.c_void_p, (state.ctypes.data, words.ctypes.data, first, GROUPS)))
    expected = philox_blocks(SEED, STREAM, 4 * first, 4 * GROUPS)
    assert (words[: 16 * GROUPS] == expected.reshape(-1)).all()
    assert (words[16 * GROUPS :] == 0xDEADBEEF).all()
