"""The tile of the sparse input gradient: which part of a pooled window's patch of dx is summed in registers at a time.

A pooled window of ph x pw positions touches ((ph-1)*sh + kh) x ((pw-1)*sw + kw) pixels of dx. Where the registers
hold them all, one sweep along a row of windows is enough; otherwise several sweeps take some positions, or some taps,
each. A live entry costs its multiply-adds, all with a weight from memory; everything else is kept small beside that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from asmgen.asm.isa import Isa
from asmgen.plan.live_list import MAX_MASKS
from asmgen.plan.specs import Conv, Conv2dBackwardInputSparse
from asmgen.plan.specs.base import require
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import LIVE_SHARE, MACHINES, Candidate, ranked
from asmgen.tile.sparse import conv2d_dx_scatter
from asmgen.tile.sparse.conv2d_dx_scatter import MAX_PATCH_BYTES, PatchTile

CODE_BYTES = 12 * 1024  # unrolled multiply-adds of a kernel

_L1_WEIGHT_BYTES = 40 * 1024  # weights of a sweep that stay in L1 from window to window; others stream from L2
_ENTRY_INSTRUCTIONS = 6  # of an entry, beside its multiply-adds
_POSITION_CYCLES = 8  # of a list, however long: its mask, and what a mispredicted end costs
_INSTRUCTION_BYTES = 9
# Measured over predicted cycles of lists with masks, where lists with codes take what is predicted. A mask ends in a
# branch that is mispredicted; many masks of few entries have more such ends.
_MASKS_TAKE = 1.15


@dataclass(frozen=True)
class Span:
    """first, first + 1, ... (`count` of them)."""

    first: int
    count: int

    @property
    def stop(self) -> int:
        return self.first + self.count


@dataclass(frozen=True)
class Sweep:
    """Rows and columns of the window, and rows and columns of the kernel, that one pass along a row of windows adds."""

    rows: Span
    cols: Span
    tap_rows: Span
    tap_cols: Span

    @property
    def n_positions(self) -> int:
        return self.rows.count * self.cols.count

    @property
    def n_taps(self) -> int:
        return self.tap_rows.count * self.tap_cols.count

    def patch(self, conv: Conv) -> tuple[Span, Span]:
        """Rows and columns of dx that it touches, from the window's first."""
        return (
            Span(
                self.rows.first * conv.sh + self.tap_rows.first, (self.rows.count - 1) * conv.sh + self.tap_rows.count
            ),
            Span(
                self.cols.first * conv.sw + self.tap_cols.first, (self.cols.count - 1) * conv.sw + self.tap_cols.count
            ),
        )


@dataclass(frozen=True)
class SparseInputTile:
    """The sweeps of a row of windows, each for `vectors` blocks of input channels."""

    vectors: int
    sweeps: tuple[Sweep, ...]
    n_accumulators: int

    def __str__(self) -> str:
        first = self.sweeps[0]  # the largest
        positions = f"{first.rows.count}x{first.cols.count} positions"
        taps = f"{first.tap_rows.count}x{first.tap_cols.count} taps"
        vectors = f" x {self.vectors} vectors" if self.vectors > 1 else ""
        return (
            f"{counted(len(self.sweeps), 'sweep')} of a row of windows, {positions} x {taps}{vectors} in one, "
            f"{self.n_accumulators} sums; every weight from memory"
        )


def choose_tile(spec: Conv2dBackwardInputSparse, isa: Isa) -> SparseInputTile | PatchTile:
    """The tile with the fewest predicted cycles. Raises ValueError where there is none: a patch above the frame."""
    found = candidates(spec, isa)
    require(bool(found), spec, f"a window's patch of dx does not fit {MAX_PATCH_BYTES} B")
    return found[0].tile


def candidates(
    spec: Conv2dBackwardInputSparse, isa: Isa, live_share: float = LIVE_SHARE
) -> tuple[Candidate[SparseInputTile | PatchTile], ...]:
    """The tiles that the registers hold, or of lists with codes those whose patch the frame holds, ranked."""
    if spec.has_codes:
        return ranked(Candidate(each.tile, each.cycles) for each in conv2d_dx_scatter.tiles(spec, isa, live_share))
    return ranked(_register_tiles(spec, isa, live_share))


def lists_have_codes(spec: Conv2dBackwardInputSparse, isa: Isa) -> bool:
    """Whether a list with codes is the better one for this gradient, whatever its own has."""
    if spec.pool is None:
        return False
    if spec.pool.n_positions > MAX_MASKS:
        return True
    codes = candidates(replace(spec, has_codes=True), isa)
    masks = candidates(replace(spec, has_codes=False), isa)
    return bool(codes) and codes[0].cycles < _MASKS_TAKE * masks[0].cycles


def _register_tiles(
    spec: Conv2dBackwardInputSparse, isa: Isa, live_share: float
) -> Iterator[Candidate[SparseInputTile | PatchTile]]:
    conv, pool = spec.conv, spec.pool
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    kh, kw, n_blocks = conv.weights.kh, conv.weights.kw, spec.dx.n_c_blocks
    n_windows = spec.dy.n * spec.dy.h * spec.dy.w * -(-spec.dy.c // spec.live.set_channels)
    n_sums = isa.n_vregs - (1 if isa.has_fma else 2)  # beside the broadcast gradient and a product
    sizes = product(range(1, ph + 1), range(1, pw + 1), range(1, kh + 1), range(1, kw + 1))
    for rows, cols, tap_rows, tap_cols in sizes:
        n_patch = ((rows - 1) * conv.sh + tap_rows) * ((cols - 1) * conv.sw + tap_cols)
        if n_patch > n_sums:
            continue
        spans = (_spans(ph, rows), _spans(pw, cols), _spans(kh, tap_rows), _spans(kw, tap_cols))
        sweeps = tuple(Sweep(*chosen) for chosen in product(*spans))
        code = _INSTRUCTION_BYTES * sum(sweep.n_positions * sweep.n_taps for sweep in sweeps)
        for vectors in range(1, n_sums // n_patch + 1):
            if n_blocks % vectors or (vectors > 1 and vectors * code > CODE_BYTES):
                continue
            cycles = sum(_cycles(spec, isa, sweep, vectors, live_share) for sweep in sweeps)
            tile = SparseInputTile(vectors, sweeps, vectors * n_patch)
            yield Candidate(tile, n_windows * n_blocks / vectors * cycles)


def _spans(total: int, size: int) -> tuple[Span, ...]:
    spans: list[Span] = []
    for count, extent in parts(total, size):
        for _ in range(count):
            spans.append(Span(spans[-1].stop if spans else 0, extent))
    return tuple(spans)


def _cycles(spec: Conv2dBackwardInputSparse, isa: Isa, sweep: Sweep, vectors: int, live_share: float) -> float:
    """Of one window and one set of output channels."""
    conv, live, machine = spec.conv, spec.live, MACHINES[isa.name]
    n_macs = vectors * sweep.n_taps
    entry = max(n_macs / machine.loaded_multiply_adds, machine.latency, (n_macs + _ENTRY_INSTRUCTIONS) / machine.issue)
    if n_macs * isa.vector_bytes * min(live.set_channels, spec.dy.c) > _L1_WEIGHT_BYTES:
        entry = max(entry, n_macs * isa.vector_bytes / machine.stream_bytes)
    n_entries = live_share * min(live.set_channels, spec.dy.c) / live.n_positions
    rows, cols = sweep.patch(conv)
    step = (spec.pool.sw if spec.pool else 1) * conv.sw
    fresh, kept = min(step, cols.count), max(0, cols.count - step)
    patch = vectors * rows.count * (2 * fresh + kept / machine.issue)
    return sweep.n_positions * (n_entries * entry + _POSITION_CYCLES) + patch
