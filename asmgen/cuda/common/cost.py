"""Estimated cycles of kernels on an H100 or H200: the choices for other GPUs would differ little."""

from __future__ import annotations

from dataclasses import dataclass

_SMS = 132
_SHARED_BYTES = 227 * 1024  # of a multiprocessor
_REGISTERS = 65536
_SHARED_BYTES_PER_CYCLE = 128
_GLOBAL_BYTES_PER_CYCLE = 20  # of one multiprocessor, mostly from L2
_STEP_LATENCY = 700  # cycles until a copy from global memory has arrived
_BLOCK_CYCLES = 2500  # start, first copies, epilogue
_PIECE_INSTRUCTIONS, _MADE_INSTRUCTIONS = 26, 12  # of 16 bytes behind a max pool: copied with codes; chosen, written


@dataclass(frozen=True)
class Work:
    """Of one step of a block: cycles of arithmetic, bytes of shared and of global memory, instructions of its warps."""

    multiply: float
    shared_bytes: float
    instructions: float
    global_bytes: float

    @property
    def cycles(self) -> float:
        """The longest of the four, and of the others what it does not hide."""
        costs = (
            self.multiply,
            self.shared_bytes / _SHARED_BYTES_PER_CYCLE,
            self.instructions / 4,
            self.global_bytes / _GLOBAL_BYTES_PER_CYCLE,
        )
        return max(costs) + (sum(costs) - max(costs)) / 4


def expanding_instructions(pieces: float, made: float) -> float:
    """Of the warps that copy pieces of 16 bytes behind a max pool with their codes, and make so many of them."""
    return (_PIECE_INSTRUCTIONS * pieces + _MADE_INSTRUCTIONS * made) / 32


def resident(shared_bytes: int, registers: int, threads: int) -> int:
    """Blocks that a multiprocessor's registers, shared memory and threads have room for; at least 1."""
    by_registers = _REGISTERS // (registers * threads)
    return max(1, min(_SHARED_BYTES // (shared_bytes + 1024), by_registers, 1024 // threads))


def grid_cycles(
    step: float, steps: int, blocks: int, threads: int, resident: int, in_flight: int, passes: int = 1
) -> float:
    """Of blocks of `steps`, in_flight of them copied ahead, in so many passes over their K."""
    fullest = -(-blocks // _SMS)
    # Few warps cannot keep a multiprocessor busy: four hide nothing, sixteen hide nearly everything.
    busy = min(1.0, 0.4 + 0.05 * min(resident, fullest) * threads / 32)
    throughput = fullest * (steps * step / busy + passes * _BLOCK_CYCLES / min(resident, fullest))
    latency = -(-fullest // resident) * (steps * _STEP_LATENCY / in_flight + passes * _BLOCK_CYCLES)
    return max(throughput, latency)


def streaming_cycles(n_bytes: int) -> float:
    """Of a kernel that reads and writes so many bytes in all, without its launch."""
    return n_bytes / (_SMS * _GLOBAL_BYTES_PER_CYCLE)
