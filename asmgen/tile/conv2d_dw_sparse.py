"""Tile of the sparse weight gradient: how much of x stays in L1 while the lists of one oc block are walked."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.asm.isa import Isa
from asmgen.plan.specs import Conv2dBackwardWeightsSparse

STRIP_BYTES = 32 * 1024  # of x: what L1 has, but for the list at hand and the sums
LIST_BYTES = 20 * 1024  # on the stack
CHUNK = 16  # pooled pixels that are appended together
BUSY_SUMS = 8  # independent sums that hide the latency of two multiply-adds a cycle
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
        sums = f"{self.c_blocks} channel blocks x {self.taps} taps = {self.c_blocks * self.taps} accumulators"
        return f"{sums}; strips of {self.rows}x{self.cols} pooled pixels, at most as many live entries for each channel"

    @property
    def list_bytes(self) -> int:
        """Of one output channel: the count, then the entries."""
        return WORD_BYTES * (1 + self.rows * self.cols * self.list_words)


def choose_tile(spec: Conv2dBackwardWeightsSparse, isa: Isa) -> Tile:
    """As many sums as the registers hold, and strips as large as L1 and the lists allow."""
    weights = spec.conv.weights
    budget = isa.n_vregs - (1 if isa.has_fma else 2)  # the broadcast, and the scratch product without FMA
    n_taps = weights.kh * weights.kw
    passes = -(-n_taps // budget)
    taps = -(-n_taps // passes)
    c_blocks = min(spec.conv.x.n_c_blocks, max(1, -(-BUSY_SUMS // taps)))
    words = 2 * spec.dy.element_bytes // WORD_BYTES
    rows, cols = _strip(spec, c_blocks, isa.lanes(spec.dy.dtype), words)
    return Tile(c_blocks, taps, rows, cols, min(CHUNK, cols), words)


def _strip(spec: Conv2dBackwardWeightsSparse, c_blocks: int, lanes: int, words: int) -> tuple[int, int]:
    """The largest strip that fits, whole rows before parts of one, all strips about equal."""
    dy = spec.dy
    max_pixels = LIST_BYTES // (lanes * words * WORD_BYTES) - 1

    def fits(rows: int, cols: int) -> bool:
        return rows * cols <= max_pixels and c_blocks * strip_bytes(spec, rows, cols) <= STRIP_BYTES

    n_parts = 1
    while -(-dy.w // n_parts) > 1 and not fits(1, -(-dy.w // n_parts)):
        n_parts += 1
    cols = -(-dy.w // n_parts)
    rows = max([rows for rows in range(1, dy.h + 1) if fits(rows, cols)], default=1)
    return -(-dy.h // -(-dy.h // rows)), cols


def strip_bytes(spec: Conv2dBackwardWeightsSparse, rows: int, cols: int) -> int:
    """Of one channel block of x under rows x cols pooled pixels."""
    conv, (ph, pw) = spec.conv, (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
    x_rows, x_cols = (rows * ph - 1) * conv.sh + conv.weights.kh, (cols * pw - 1) * conv.sw + conv.weights.kw
    return x_rows * x_cols * conv.x.pixel_bytes
