"""Tile of the sparse weight gradient: how much of x stays in L1 while the lists of one oc block are walked."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dBackwardWeightsSparse
from asmgen.tile.common.count_text import counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.cost import LIVE_SHARE, MACHINES, Candidate, ranked

STRIP_BYTES = 32 * 1024  # of x: what L1 has, but for the list at hand and the sums
LIST_BYTES = 20 * 1024  # on the stack
CHUNK = 16  # pooled pixels that are appended together
STRIP_SHARES = (1.0, 0.5)  # of STRIP_BYTES
MORE_PASSES = 1  # over a list than the registers ask for
ENTRY_INSTRUCTIONS = 5  # of an entry, beside its multiply-adds
APPEND_CYCLES = 3  # of a pooled value, live or not, to its list
LIST_CYCLES = 24  # loop control around a list, and its mispredicted end
WORD_BYTES = 8  # lists are made of quadwords


@dataclass(frozen=True)
class Tile:
    """c_blocks x taps accumulators; strips of pooled rows x cols; chunks of pooled pixels.

    taps: how many are summed in one pass over a list; a kernel with more takes several passes.
    """

    c_blocks: int
    taps: int
    rows: int
    cols: int
    chunk: int
    list_words: int  # quadwords of an entry

    def __str__(self) -> str:
        sums = (
            f"{counted(self.c_blocks, 'channel block')} x {self.taps} taps = {self.c_blocks * self.taps} accumulators"
        )
        return f"{sums}; strips of {self.rows}x{self.cols} pooled pixels, at most as many live entries for each channel"

    @property
    def list_bytes(self) -> int:
        """Of one output channel: the count, then the entries."""
        return WORD_BYTES * (1 + self.rows * self.cols * self.list_words)


def choose_tile(spec: Conv2dBackwardWeightsSparse, isa: Isa) -> Tile:
    """The sums and strips with the fewest predicted cycles."""
    return candidates(spec, isa)[0].tile


def candidates(
    spec: Conv2dBackwardWeightsSparse, isa: Isa, live_share: float = LIVE_SHARE
) -> tuple[Candidate[Tile], ...]:
    """The sums that the registers hold with strips of x that L1 and the lists hold, ranked."""
    n_taps = spec.conv.weights.kh * spec.conv.weights.kw
    budget = isa.n_vregs - (1 if isa.has_fma else 2)  # the broadcast, and the scratch product without FMA
    passes = -(-n_taps // budget)
    words = 2 * spec.dy.element_bytes // WORD_BYTES
    tiles: dict[Tile, None] = {}
    for taps in dict.fromkeys(-(-n_taps // n) for n in range(passes, min(passes + MORE_PASSES, n_taps) + 1)):
        for c_blocks in range(1, min(spec.conv.x.n_c_blocks, budget // taps) + 1):
            for share in STRIP_SHARES:
                rows, cols = _strip(spec, c_blocks, isa.lanes(spec.dy.dtype), words, share)
                tiles[Tile(c_blocks, taps, rows, cols, min(CHUNK, cols), words)] = None
    return ranked(Candidate(tile, _cycles(spec, isa, tile, live_share)) for tile in tiles)


def _cycles(spec: Conv2dBackwardWeightsSparse, isa: Isa, tile: Tile, live_share: float) -> float:
    """Of one call: every value goes to a list; every entry of it meets sums, which are loaded and stored around it."""
    machine, dy, weights = MACHINES[isa.name], spec.dy, spec.conv.weights
    total = 0.0
    for n_passes, taps in parts(weights.kh * weights.kw, tile.taps):
        for n_steps, c_blocks in parts(spec.conv.x.n_c_blocks, tile.c_blocks):
            n_sums = taps * c_blocks
            instructions = n_sums + ENTRY_INSTRUCTIONS
            entry = max(n_sums / machine.loaded_multiply_adds, machine.latency, instructions / machine.issue)
            n_entries = live_share * dy.h * dy.w
            n_strips = -(-dy.h // tile.rows) * -(-dy.w // tile.cols)
            total += n_passes * n_steps * (n_entries * entry + n_strips * (2 * n_sums + LIST_CYCLES))
    return dy.n * dy.c * (total + APPEND_CYCLES * dy.h * dy.w)


def _strip(spec: Conv2dBackwardWeightsSparse, c_blocks: int, lanes: int, words: int, share: float) -> tuple[int, int]:
    """The largest strip that fits, whole rows before parts of one, all strips about equal."""
    dy = spec.dy
    max_pixels = LIST_BYTES // (lanes * words * WORD_BYTES) - 1

    def fits(rows: int, cols: int) -> bool:
        return rows * cols <= max_pixels and c_blocks * strip_bytes(spec, rows, cols) <= share * STRIP_BYTES

    n_parts = 1
    while -(-dy.w // n_parts) > 1 and not fits(1, -(-dy.w // n_parts)):
        n_parts += 1
    cols = -(-dy.w // n_parts)
    rows = max([rows for rows in range(1, dy.h + 1) if fits(rows, cols)], default=1)
    return -(-dy.h // -(-dy.h // rows)), cols


def strip_bytes(spec: Conv2dBackwardWeightsSparse, rows: int, cols: int) -> int:
    """Of one channel block of x under rows x cols pooled pixels."""
    conv = spec.conv
    oh, ow = spec.pool.extent(rows, cols) if spec.pool else (rows, cols)
    x_rows, x_cols = (oh - 1) * conv.sh + conv.weights.kh, (ow - 1) * conv.sw + conv.weights.kw
    return x_rows * x_cols * conv.x.pixel_bytes
