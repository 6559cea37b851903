"""The machine model: one table of rates per ISA level, and what tiles and reports predict with them.

Measured on one server core with two 512-bit FMA units (docs/performance.md). A core with other rates gets the same code
from other predictions, and `asmgen tune` for its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Facts

T = TypeVar("T")

L2_BYTES = 2 << 20
LIVE_SHARE = 0.5  # of the gradients behind a max pool: what a ReLU leaves of them in the middle of training, about


@dataclass(frozen=True)
class Machine:
    """Rates of one core, all per cycle but for the last five."""

    multiply_adds: float  # of full vectors from registers; without FMA a multiplication and an addition
    loaded_multiply_adds: float  # with an aligned vector from L1 as an operand each
    adds: float  # of sums that need no multiplication, the copies of two-operand code included
    loads: float  # of vectors or broadcasts
    vector_ports: float  # without FMA: multiplications, additions and the shuffles of broadcasts together
    issue: float  # instructions of any kind
    stream_bytes: float  # read from L2 beside arithmetic
    far_stream_bytes: float  # the same from beyond L2
    l2_bytes: float  # of traffic by itself that L2 holds
    l3_bytes: float  # of more
    latency: float  # cycles from an accumulator to its next use
    write_line: float  # cycles of a line that goes to L2
    dense_load: float  # cycles of a load beside multiply-adds in a step of a dense layer's tile
    dense_rows: float  # cycles of a step whose weights lie in rows far apart
    lane_sums: float  # cycles of the sums of lanes of four vectors


_AVX512 = Machine(
    multiply_adds=2.0,
    loaded_multiply_adds=1.3,
    adds=2.0,
    loads=2.0,
    vector_ports=2.0,
    issue=6.0,
    stream_bytes=40.0,
    far_stream_bytes=12.0,
    l2_bytes=48.0,
    l3_bytes=8.0,
    latency=4.0,
    write_line=4.0,
    dense_load=0.05,
    dense_rows=1.5,
    lane_sums=12.0,
)
_AVX2 = replace(_AVX512, loaded_multiply_adds=2.0, vector_ports=3.0, dense_load=0.0, dense_rows=0.5, lane_sums=4.0)
_SSE41 = replace(_AVX2, multiply_adds=1.46, loaded_multiply_adds=1.46, adds=1.2, l2_bytes=32.0, lane_sums=1.0)
MACHINES: dict[str, Machine] = {"avx512": _AVX512, "avx2": _AVX2, "sse41": _SSE41}


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """A tile that registers and code size allow, and the predicted cycles of one call over the whole slice."""

    tile: T
    cycles: float


def ranked(candidates: Iterable[Candidate[T]]) -> tuple[Candidate[T], ...]:
    """Fewest cycles first; of equals, the one that was named first."""
    return tuple(sorted(candidates, key=lambda candidate: candidate.cycles))


def arithmetic_cycles(
    isa: Isa, multiply_adds: float, loads: float, broadcasts: float, free: float = 0.4, share: float = 0.1
) -> float:
    """Of an unrolled body whose sums stay in registers.

    With FMA, `free` loads (broadcasts among them) for each multiply-add cost nothing, and every further one a `share`
    of a multiply-add's time. Without it, multiplication, addition and the shuffle of a broadcast use the same ports.
    """
    machine = MACHINES[isa.name]
    if not isa.has_fma:
        return (2 * multiply_adds + broadcasts) / machine.vector_ports
    crowding = max(0.0, loads / max(multiply_adds, 1) - free)
    return multiply_adds / machine.multiply_adds * (1 + share * crowding)


def bound_cycles(facts: Facts, isa: Isa, dtype: str) -> float:
    """The roofline of one call: the larger of arithmetic at peak and memory traffic at the rate of its level."""
    return max(peak_cycles(facts, isa, dtype), traffic_cycles(facts, isa))


def peak_cycles(facts: Facts, isa: Isa, dtype: str) -> float:
    """Of the arithmetic alone, were every multiply-add a full vector and none waited."""
    return facts.flops / (2 * isa.lanes(dtype) * MACHINES[isa.name].multiply_adds)


def traffic_cycles(facts: Facts, isa: Isa) -> float:
    """Of reading and writing every tensor once."""
    machine = MACHINES[isa.name]
    traffic = facts.bytes_read + facts.bytes_written
    return traffic / (machine.l2_bytes if traffic <= L2_BYTES else machine.l3_bytes)


def roofline_text(facts: Facts, isa: Isa, dtype: str, predicted: float) -> str:
    """What bounds one call, for the kernel's header."""
    intensity = facts.flops / max(facts.bytes_read + facts.bytes_written, 1)
    cycles = (peak_cycles(facts, isa, dtype), traffic_cycles(facts, isa), predicted)
    peak, traffic, expected = (f"{count:,.0f}".replace(",", " ") for count in cycles)
    bounds = f"{peak} cycles of arithmetic at peak, {traffic} of memory traffic"
    return f"{intensity:.3g} flop/B: {bounds}; predicted {expected}"
