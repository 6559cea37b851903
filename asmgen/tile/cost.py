"""The machine model, one row per ISA level: what choose_tile and the reports predict with.

Rates per core and cycle, measured on a server core with two 512-bit FMA units (docs/performance.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Facts

L2_BYTES = 2 << 20


@dataclass(frozen=True)
class Machine:
    """vectors_per_cycle: multiply-adds of full vectors; *_bytes: traffic per cycle from L2 and from beyond it."""

    vectors_per_cycle: float
    l2_bytes: float
    l3_bytes: float


MACHINES: dict[str, Machine] = {
    "avx512": Machine(2.0, 48.0, 8.0),
    "avx2": Machine(2.0, 48.0, 8.0),
    "sse41": Machine(1.46, 32.0, 8.0),
}


def predicted_cycles(facts: Facts, isa: Isa, dtype: str) -> float:
    """The roofline bound of one call: the larger of arithmetic at peak and memory traffic at the rate of its level."""
    machine = MACHINES[isa.name]
    arithmetic = facts.flops / (2 * isa.lanes(dtype) * machine.vectors_per_cycle)
    traffic = facts.bytes_read + facts.bytes_written
    return max(arithmetic, traffic / (machine.l2_bytes if traffic <= L2_BYTES else machine.l3_bytes))
