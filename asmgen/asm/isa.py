"""The instruction set levels as data: what a kernel may use, asked by capability and never by name."""

from __future__ import annotations

from dataclasses import dataclass

ELEMENT_BYTES = {"float32": 4, "float64": 8}

# MMX+ is where PeachPy files the prefetches.
_SSE = frozenset({"CMOV", "MMX+", "SSE", "SSE2", "SSE3", "SSSE3", "SSE4.1"})
_AVX2 = frozenset({"CMOV", "MMX+", "AVX", "AVX2", "FMA3", "BMI"})
_AVX512 = frozenset({"AVX512F", "AVX512BW", "AVX512DQ", "AVX512VL"})


@dataclass(frozen=True)
class Isa:
    """One instruction set level.

    `extensions` are PeachPy's names of the instruction set extensions an emitted instruction may need; the printer
    refuses any other. `cpu_features` are the names in /proc/cpuinfo that a CPU must have.
    """

    name: str
    vector_bytes: int
    n_vregs: int
    has_vex: bool  # three-operand forms, unaligned memory operands
    has_fma: bool
    has_mask: bool  # mask registers k1..k7
    extensions: frozenset[str]
    cpu_features: tuple[str, ...]

    def lanes(self, dtype: str) -> int:
        """V, the elements of one vector register."""
        return self.vector_bytes // ELEMENT_BYTES[dtype]

    def shuffles_broadcasts(self, dtype: str) -> bool:
        """Whether a broadcast from memory takes a shuffle; else it is a load like any other."""
        return not self.has_vex and ELEMENT_BYTES[dtype] == 4


SSE41 = Isa("sse41", 16, 16, False, False, False, _SSE, ("sse4_1",))
AVX2 = Isa("avx2", 32, 16, True, True, False, _AVX2, ("avx2", "fma", "bmi1"))
AVX512 = Isa(
    "avx512",
    64,
    32,
    True,
    True,
    True,
    _AVX2 | _AVX512,
    ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "bmi1"),
)

ISAS: dict[str, Isa] = {isa.name: isa for isa in (SSE41, AVX2, AVX512)}
